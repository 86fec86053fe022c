package peer

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutlv"
)

// segment is a submit_sm as a peer sees it: a message, or a part of one.
type segment struct {
	target      int
	reference   byte // of the concatenation
	part, total int  // 1 of 1 where there is none
	text        string
	report      bool // a delivery report is asked for
}

// readSegment reads the body of a submit_sm and refuses what no handset would show
// as it was meant.
func readSegment(fields pdufield.List, body []byte) (segment, error) {
	r := bytes.NewBuffer(body)
	f, err := fields.Decode(r)
	if err != nil || f[pdufield.ShortMessage] == nil {
		return segment{}, errors.New("the submit_sm is not well-formed")
	}
	tlvs, err := pdutlv.DecodeTLV(r)
	if err != nil {
		return segment{}, errors.New("the submit_sm has parameters that are not well-formed")
	}
	s := segment{target: phoneTarget(f[pdufield.DestinationAddr].String()), part: 1, total: 1,
		report: f[pdufield.RegisteredDelivery].Bytes()[0]&3 == 1}
	if s.target == 0 || f[pdufield.DestAddrTON].Bytes()[0] != 1 || f[pdufield.DestAddrNPI].Bytes()[0] != 1 {
		return segment{}, errors.New("the destination is not a phone of this peer in international form")
	}
	coding, message := pdutext.DataCoding(f[pdufield.DataCoding].Bytes()[0]), f[pdufield.ShortMessage].Bytes()
	limits := map[pdutext.DataCoding][2]int{pdutext.DefaultType: {160, 153}, pdutext.UCS2Type: {140, 134}}
	limit, known := limits[coding]
	if !known {
		return segment{}, errors.New("the data_coding is neither the default alphabet nor UCS-2")
	}
	most := limit[0]
	if payload := tlvs[pdutlv.TagMessagePayload]; payload != nil {
		if len(message) > 0 {
			return segment{}, errors.New("there is a message_payload beside a short_message")
		}
		message, most = payload.Bytes(), 10*limit[1]
	}
	if f[pdufield.ESMClass].Bytes()[0]&0x40 != 0 {
		if len(message) < 6 || !bytes.Equal(message[:3], []byte{5, 0, 3}) {
			return segment{}, errors.New("the user data header is not that of a concatenation")
		}
		s.reference, s.total, s.part = message[3], int(message[4]), int(message[5])
		message, most = message[6:], limit[1]
		if s.total < 2 || s.total > 10 || s.part < 1 || s.part > s.total {
			return segment{}, errors.New("the parts of the concatenation are not 2 to 10")
		}
	}
	if len(message) > most || len(message) == 0 {
		return segment{}, errors.New("the message is empty or longer than fits")
	}
	s.text, err = phoneText(coding, message)
	return s, err
}

// phoneText decodes a segment by itself, as a handset does, so that a character that
// was cut in two shows.
func phoneText(coding pdutext.DataCoding, message []byte) (string, error) {
	if coding == pdutext.UCS2Type {
		text := string(pdutext.UCS2(message).Decode())
		if len(message)%2 != 0 || strings.ContainsRune(text, '\uFFFD') {
			return "", errors.New("the text is not UCS-2, or a surrogate pair is cut")
		}
		return text, nil
	}
	if message[len(message)-1] == 0x1B || bytes.ContainsFunc(message, func(r rune) bool { return r > 0x7F }) {
		return "", errors.New("the text is not GSM 03.38, or an escape is cut")
	}
	return string(pdutext.GSM7(message).Decode()), nil
}

// subject reads incident and sequence from how a text begins: "[INC-1] #2 ", or
// "[INC-1] TEST #2 ".
func subject(text string) (incident string, sequence int, err error) {
	errNone := errors.New("the text does not begin with [incident] #sequence")
	head, rest, found := strings.Cut(text, "] #")
	if !found {
		head, rest, found = strings.Cut(text, "] TEST #")
	}
	incident, bracket := strings.CutPrefix(head, "[")
	if !found || !bracket || incident == "" || strings.ContainsAny(incident, "\t\n") {
		return "", 0, errNone
	}
	number, _, _ := strings.Cut(rest, " ")
	if sequence, err = strconv.Atoi(number); err != nil || sequence < 1 {
		return "", 0, errNone
	}
	return incident, sequence, nil
}

// messageKey is what the parts of a message have in common.
type messageKey struct {
	target    int
	reference byte
}

// smscMessage is an attempt to send a message, of which some parts have come.
type smscMessage struct {
	receipt   Receipt
	behaviour Behaviour
	status    int // of all its parts, as [Behaviour.Status] has it
	total     int
	came      [11]bool // by part
	missing   int
	settled   bool   // its receipt is written, or about to be
	id        string // that of the first part
	report    bool
}

func newSMSCMessage(first segment, b Behaviour, status int) (*smscMessage, error) {
	incident, sequence, err := subject(first.text)
	if err != nil {
		return nil, err
	}
	return &smscMessage{behaviour: b, status: status, total: first.total, missing: first.total, report: first.report,
		receipt: Receipt{Target: first.target, Incident: incident, Sequence: sequence,
			ID: fmt.Sprintf("sms-%d-%d-%02x-%s", first.target, sequence, first.reference, incident)}}, nil
}
