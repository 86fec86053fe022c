package smpp

import (
	"fmt"

	"github.com/fiorix/go-smpp/smpp/pdu"

	"github.com/tocsin/tocsin/channels"
)

// The statuses that we send ourselves.
const (
	statusInvalidLength  pdu.Status = 0x02
	statusInvalidCommand pdu.Status = 0x03
	statusTemporaryError pdu.Status = 0x64
)

// status is a command_status of section 5.1.3, and what it means for a submit.
type status struct {
	name  string
	class channels.Class
}

// statuses is the table of section 5.1.3. What says that the centre is not ready,
// or that the bind is not right, is temporary; what says that this message or this
// number will not do is permanent. None is channels.Gone: ESME_RINVDSTADR also comes
// for numbers that a centre has no route to today.
var statuses = map[pdu.Status]status{
	0x00: {"ESME_ROK", channels.Delivered},
	0x01: {"ESME_RINVMSGLEN", channels.Permanent},
	0x02: {"ESME_RINVCMDLEN", channels.Permanent},
	0x03: {"ESME_RINVCMDID", channels.Permanent},
	0x04: {"ESME_RINVBNDSTS", channels.Temporary},
	0x05: {"ESME_RALYBND", channels.Temporary},
	0x06: {"ESME_RINVPRTFLG", channels.Permanent},
	0x07: {"ESME_RINVREGDLVFLG", channels.Permanent},
	0x08: {"ESME_RSYSERR", channels.Temporary},
	0x0A: {"ESME_RINVSRCADR", channels.Permanent},
	0x0B: {"ESME_RINVDSTADR", channels.Permanent},
	0x0C: {"ESME_RINVMSGID", channels.Permanent},
	0x0D: {"ESME_RBINDFAIL", channels.Temporary},
	0x0E: {"ESME_RINVPASWD", channels.Temporary},
	0x0F: {"ESME_RINVSYSID", channels.Temporary},
	0x11: {"ESME_RCANCELFAIL", channels.Permanent},
	0x13: {"ESME_RREPLACEFAIL", channels.Permanent},
	0x14: {"ESME_RMSGQFUL", channels.Throttled},
	0x15: {"ESME_RINVSERTYP", channels.Permanent},
	0x33: {"ESME_RINVNUMDESTS", channels.Permanent},
	0x34: {"ESME_RINVDLNAME", channels.Permanent},
	0x40: {"ESME_RINVDESTFLAG", channels.Permanent},
	0x42: {"ESME_RINVSUBREP", channels.Permanent},
	0x43: {"ESME_RINVESMCLASS", channels.Permanent},
	0x44: {"ESME_RCNTSUBDL", channels.Permanent},
	0x45: {"ESME_RSUBMITFAIL", channels.Temporary},
	0x48: {"ESME_RINVSRCTON", channels.Permanent},
	0x49: {"ESME_RINVSRCNPI", channels.Permanent},
	0x50: {"ESME_RINVDSTTON", channels.Permanent},
	0x51: {"ESME_RINVDSTNPI", channels.Permanent},
	0x53: {"ESME_RINVSYSTYP", channels.Temporary},
	0x54: {"ESME_RINVREPFLAG", channels.Permanent},
	0x55: {"ESME_RINVNUMMSGS", channels.Permanent},
	0x58: {"ESME_RTHROTTLED", channels.Throttled},
	0x61: {"ESME_RINVSCHED", channels.Permanent},
	0x62: {"ESME_RINVEXPIRY", channels.Permanent},
	0x63: {"ESME_RINVDFTMSGID", channels.Permanent},
	0x64: {"ESME_RX_T_APPN", channels.Temporary},
	0x65: {"ESME_RX_P_APPN", channels.Permanent},
	0x66: {"ESME_RX_R_APPN", channels.Permanent},
	0x67: {"ESME_RQUERYFAIL", channels.Permanent},
	0xC0: {"ESME_ROPTPARSTREAM", channels.Permanent},
	0xC1: {"ESME_ROPTPARNOTALLWD", channels.Permanent},
	0xC2: {"ESME_RINVPARLEN", channels.Permanent},
	0xC3: {"ESME_RMISSINGOPTPARAM", channels.Permanent},
	0xC4: {"ESME_RINVOPTPARAMVAL", channels.Permanent},
	0xFE: {"ESME_RDELIVERYFAILURE", channels.Temporary},
	0xFF: {"ESME_RUNKNOWNERR", channels.Temporary},
}

// classOf returns what a status means for a submit. Those that the specification
// reserves or leaves to vendors (0x400 to 0x4FF) are temporary: nothing is known of
// them, and the update's expiry bounds the attempts.
func classOf(s pdu.Status) channels.Class {
	if known, ok := statuses[s]; ok {
		return known.class
	}
	return channels.Temporary
}

// statusName is how results and logs name a status.
func statusName(s pdu.Status) string {
	if known, ok := statuses[s]; ok {
		return known.name
	}
	return fmt.Sprintf("command_status 0x%08X", uint32(s))
}

// nackStatus makes sure that a generic_nack is never taken for success.
func nackStatus(s pdu.Status) pdu.Status {
	if s == 0 {
		return 0xFF
	}
	return s
}
