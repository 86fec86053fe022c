package smpp

import (
	"encoding/binary"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutlv"
)

// e164 says whether a number is as destination_addr has it, without the + (ITU-T
// E.164): 7 to 15 digits.
func e164(number string) bool {
	if len(number) < 7 || len(number) > 15 || number[0] == '0' {
		return false
	}
	for i := range len(number) {
		if number[i] < '0' || number[i] > '9' {
			return false
		}
	}
	return true
}

// Bits of esm_class (section 5.2.12).
const (
	esmTypeMask     = 0x3C
	esmReceipt      = 0x04
	esmIntermediate = 0x20
	esmUDHI         = 0x40 // the message begins with a user data header
)

// receiptWanted asks for a receipt of the final outcome (section 5.2.17).
const receiptWanted = 0x01

// submits writes the PDUs of a message to a number, in the order of its segments.
// They are written by hand, where everything else is left to the codec: one submit
// costs that 6 µs and 67 allocations. A test compares the two.
func (a *account) submits(number string, t *text, reference byte) [][]byte {
	total := len(t.segments)
	switch {
	case total == 1:
		return [][]byte{a.submit(number, t, 0, receiptWanted, nil, t.segments[0])}
	case a.payload:
		b := a.submit(number, t, 0, receiptWanted, nil, nil)
		b = binary.BigEndian.AppendUint16(b, uint16(pdutlv.TagMessagePayload))
		b = binary.BigEndian.AppendUint16(b, uint16(len(t.whole)))
		return [][]byte{measure(append(b, t.whole...))}
	}
	out := make([][]byte, total)
	for i, segment := range t.segments {
		// 3GPP TS 23.040, 9.2.3.24.1: concatenated short messages, 8-bit reference.
		header := [...]byte{5, 0, 3, reference, byte(total), byte(i + 1)}
		var receipt byte
		if i == 0 {
			receipt = receiptWanted // the ids of the others are not kept
		}
		out[i] = a.submit(number, t, esmUDHI, receipt, header[:], segment)
	}
	return out
}

// submit writes one submit_sm (section 4.4.1), without a segment with room for a
// message_payload.
func (a *account) submit(number string, t *text, esmClass, receipt byte, header, segment []byte) []byte {
	const fixed = pdu.HeaderLen + 18
	size := fixed + len(a.source.addr) + len(number) + len(header) + len(segment)
	if segment == nil {
		size += 4 + len(t.whole)
	}
	b := make([]byte, pdu.HeaderLen, size)
	binary.BigEndian.PutUint32(b[4:], uint32(pdu.SubmitSMID))
	b = append(b, 0, a.source.ton, a.source.npi) // no service_type
	b = append(append(b, a.source.addr...), 0)
	b = append(b, tonInternational, npiISDN)
	b = append(append(b, number...), 0)
	// esm_class, protocol_id, priority_flag, no schedule_delivery_time, no
	// validity_period, registered_delivery, replace_if_present_flag, data_coding,
	// sm_default_msg_id, sm_length
	b = append(b, esmClass, 0, 0, 0, 0, receipt, 0, byte(t.coding), 0, byte(len(header)+len(segment)))
	return measure(append(append(b, header...), segment...))
}

// measure puts the length into an encoded PDU.
func measure(p []byte) []byte {
	binary.BigEndian.PutUint32(p, uint32(len(p)))
	return p
}

// stamp puts the sequence number into an encoded PDU.
func stamp(p []byte, sequence uint32) []byte {
	binary.BigEndian.PutUint32(p[12:], sequence)
	return p
}
