package smpp

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/fiorix/go-smpp/smpp/pdu"
	"github.com/fiorix/go-smpp/smpp/pdu/pdufield"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutext"
	"github.com/fiorix/go-smpp/smpp/pdu/pdutlv"
)

// inbound is a deliver_sm (section 4.6.1), in the parts that are used here. It
// holds nothing of the buffer it was read from.
type inbound struct {
	esmClass byte
	from     string // source_addr in E.164 form, if the centre says enough
	national bool   // it is a national number instead
	text     string // without user data header
	// Of a receipt:
	receiptedID  string
	messageState State
	networkError []byte
}

var errMalformed = errors.New("the deliver_sm is not well-formed")

// parseDeliver reads the body of a deliver_sm. It decodes the fields of a submit_sm,
// which are the same: the codec's own list of a deliver_sm looks for a user data
// header in the wrong place when the text is in message_payload.
func parseDeliver(body []byte) (*inbound, error) {
	r := bytes.NewBuffer(body)
	f, err := pdu.NewSubmitSM(nil).FieldList().Decode(r)
	if err != nil || f[pdufield.ShortMessage] == nil { // a body cut short is no error to the codec
		return nil, errMalformed
	}
	tlvs, err := pdutlv.DecodeTLV(r)
	if err != nil {
		return nil, errMalformed
	}
	message := f[pdufield.ShortMessage].Bytes()
	if payload := tlvs[pdutlv.TagMessagePayload]; len(message) == 0 && payload != nil {
		message = payload.Bytes()
	}
	in := &inbound{esmClass: fixed(f, pdufield.ESMClass)}
	if in.esmClass&esmUDHI != 0 && len(message) > 0 {
		message = message[min(len(message), 1+int(message[0])):]
	}
	in.text = decodeText(pdutext.DataCoding(fixed(f, pdufield.DataCoding)), message)
	in.from, in.national = sender(fixed(f, pdufield.SourceAddrTON), f[pdufield.SourceAddr].String())
	if id := tlvs[pdutlv.TagReceiptedMessageID]; id != nil {
		in.receiptedID = messageID(id.Bytes())
	}
	if state := tlvs[pdutlv.TagMessageStateOption]; state != nil && state.Len() == 4+1 {
		in.messageState = stateOf(state.Bytes()[0])
	}
	if code := tlvs[pdutlv.TagNetworkErrorCode]; code != nil && code.Len() == 4+3 {
		in.networkError = bytes.Clone(code.Bytes())
	}
	return in, nil
}

func fixed(f pdufield.Map, name pdufield.Name) byte {
	if v, ok := f[name].(*pdufield.Fixed); ok {
		return v.Data
	}
	return 0
}

// decodeText reads what a phone sent: UCS-2, Latin-1 and ASCII by their coding,
// everything else as GSM 03.38 or, where it is not that, Latin-1.
func decodeText(coding pdutext.DataCoding, b []byte) string {
	const ascii = 0x01
	switch coding {
	case pdutext.UCS2Type:
		return strings.ToValidUTF8(string(pdutext.UCS2(b).Decode()), "")
	case pdutext.Latin1Type, ascii:
		return string(pdutext.Latin1(b).Decode())
	}
	if s := string(pdutext.GSM7(b).Decode()); s != string(b) || isASCII(b) {
		return strings.ToValidUTF8(s, "")
	}
	return string(pdutext.Latin1(b).Decode())
}

func isASCII(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r > unicode.MaxASCII })
}

// sender puts a source address into E.164 form, "+" and digits, where its type says
// international, or says nothing and it does not begin with a 0. A national number
// is told as it is: only the account knows its country. What is no number is "".
func sender(ton byte, addr string) (from string, national bool) {
	number, plus := strings.CutPrefix(addr, "+")
	if short, ok := strings.CutPrefix(number, "00"); ok && !plus {
		number, plus = short, true
	}
	switch {
	case !digits.MatchString(number):
		return "", false
	case plus, ton == tonInternational, ton == tonUnknown && e164(number):
		return "+" + number, false
	}
	return number, ton == tonNational || ton == tonUnknown && strings.HasPrefix(number, "0")
}

// phone returns who sent a message, with the account's country if that is missing.
func (a *account) phone(in *inbound) string {
	if !in.national {
		return in.from
	}
	if a.country == "" {
		a.nationals.Do(func() {
			a.config.Logger.Warn("smpp: a STOP came with a number in national form, which is no target's; set the account's country in the configuration",
				"account", a.name)
		})
		return in.from
	}
	number := a.country + strings.TrimPrefix(in.from, "0")
	if !e164(number) {
		return in.from
	}
	return "+" + number
}

// deliver records what the centre brings and answers it after that, each in a
// goroutine of its own: the reader has responses to read meanwhile.
func (s *session) deliver(record context.Context, h pdu.Header, body []byte) {
	in, err := parseDeliver(body)
	if err != nil {
		s.account.strays.Add(1)
		s.out.reply(header(pdu.GenericNACKID, statusInvalidLength, h.Seq))
		return
	}
	handle := s.account.handler(in)
	if handle == nil {
		s.out.reply(delivered(h.Seq, 0))
		return
	}
	if s.refusing.Load() {
		s.out.reply(delivered(h.Seq, statusTemporaryError))
		return
	}
	select {
	case s.recording <- struct{}{}:
	default: // more than the store keeps up with: the centre tries again
		s.out.reply(delivered(h.Seq, statusTemporaryError))
		return
	}
	s.recorders.Go(func() {
		var status pdu.Status
		if handle(record) != nil {
			status = statusTemporaryError
		}
		s.out.put(delivered(h.Seq, status))
		<-s.recording
	})
}

// delivered is a deliver_sm_resp (section 4.6.2); its message_id is unused.
func delivered(sequence uint32, status pdu.Status) []byte {
	p := pdu.NewDeliverSMRespSeq(sequence)
	p.Header().Status = status
	return encode(p, sequence)
}

// handler returns what has to be done about a message before it is answered, nil
// for nothing.
func (a *account) handler(in *inbound) func(context.Context) error {
	switch kind := in.esmClass & esmTypeMask; {
	case kind == esmReceipt:
		r, ok := in.receipt()
		if !ok {
			a.strays.Add(1) // again it would be no better
			return nil
		}
		if !r.State.Final() {
			return nil // nothing that the ledger needs
		}
		r.Provider = a.name
		return func(ctx context.Context) error {
			err := a.config.Receipt(ctx, r)
			switch {
			case err == nil:
				a.orphans.found(r.MessageID)
				a.receipts.Add(1)
			case errors.Is(err, ErrUnknown) && a.orphans.giveUp(r.MessageID, time.Now()):
				a.strays.Add(1)
				return nil
			}
			return err
		}
	case kind == 0 && in.from != "" && isOptOut(in.text):
		return func(ctx context.Context) error {
			err := a.config.OptOut(ctx, a.name, a.phone(in))
			if err == nil {
				a.optOuts.Add(1)
			}
			return err
		}
	case kind == esmIntermediate:
		return nil // as a receipt that is not final
	}
	a.inbound.Add(1)
	return nil
}

// optOutWords end a subscription, in the languages of phrases and some more.
var optOutWords = []string{
	"stop", "stopall", "stop all", "unsubscribe", "cancel", "end", "quit", "optout", "opt out", "opt-out", "revoke",
	"stopp", "abmelden", "abbestellen",
	"parar", "baja", "alto",
	"arret", "arrêt", "désabonner", "desabonner",
	"annulla", "disiscrivi",
	"afmelden", "stoppen",
	"pare", "sair", "cancelar",
	"стоп",
}

// isOptOut reports whether a text is one of optOutWords, alone but for punctuation
// and case.
func isOptOut(text string) bool {
	word := strings.TrimFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })
	return slices.Contains(optOutWords, strings.Join(strings.Fields(strings.ToLower(word)), " "))
}
