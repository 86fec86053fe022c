package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// MaxBatchBytes is the largest binary form of a batch.
const MaxBatchBytes = 1 << 20

// ErrMalformed is returned (wrapped) by [ParseBatch] for bytes which are no
// batch. Receiving them again doesn't help: set them aside.
var ErrMalformed = errors.New("malformed batch")

// VersionError says that a batch was written in a form this build doesn't
// know, most likely by a newer one during an upgrade. The batch is good work:
// keep it for a process that can read it.
type VersionError struct {
	Version byte
}

// Error says which versions can be read.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the batch has format version %d and this build reads only version %d: "+
		"let a worker of the version that wrote it take it", e.Version, batchVersion)
}

// The binary form, version 1. Integers are varints (zigzag where signed),
// strings are a length and bytes, times are milliseconds.
//
//	magic, version, flags, id, incident, sequence, group, accepted_at,
//	expires_at - accepted_at, revision, number of deliveries, number of all secrets,
//	then per delivery: flags, target - previous target, provider, address, locale,
//	format, attempt, edition, since - accepted_at, number of secrets, secrets
//
// Provider, locale and format are left out where they repeat the delivery
// before; the number of secrets, and the
// edition, where there are none.
const (
	batchMagic   = 0xB7
	batchVersion = 1
)

const (
	batchUrgent = 1 << iota
	batchVerify
	batchFlags = 1<<iota - 1
)

const (
	deliveryPrivate = 1 << iota
	deliveryEveryUpdate
	deliveryFailing
	deliverySameProvider
	deliverySameLocale
	deliverySameFormat
	deliverySecrets
	deliveryEdition
	deliveryFlags = 1<<iota - 1
)

// AppendBinary appends the binary form of b to dst. Times are kept to the
// millisecond. It returns dst unchanged and an error for a batch of more than
// [MaxDeliveries] deliveries or [MaxBatchBytes] bytes.
func (b *Batch) AppendBinary(dst []byte) ([]byte, error) {
	if len(b.Deliveries) > MaxDeliveries {
		return dst, fmt.Errorf("batch %d has %d deliveries, at most %d are allowed: split it", b.ID, len(b.Deliveries), MaxDeliveries)
	}
	secrets := 0
	for i := range b.Deliveries {
		secrets += len(b.Deliveries[i].Secrets)
	}
	var flags byte
	if b.Urgent {
		flags |= batchUrgent
	}
	if b.Verify {
		flags |= batchVerify
	}
	accepted := b.AcceptedAt.UnixMilli()

	out := append(dst, batchMagic, batchVersion, flags)
	out = binary.AppendVarint(out, b.ID)
	out = binary.AppendVarint(out, b.Incident)
	out = binary.AppendVarint(out, int64(b.Sequence))
	out = appendString(out, b.Group)
	out = binary.AppendVarint(out, accepted)
	out = binary.AppendVarint(out, b.ExpiresAt.UnixMilli()-accepted)
	out = binary.AppendVarint(out, b.Revision)
	out = binary.AppendUvarint(out, uint64(len(b.Deliveries)))
	out = binary.AppendUvarint(out, uint64(secrets))
	before := &Delivery{}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		out = d.appendBinary(out, before, accepted)
		before = d
		if len(out)-len(dst) > MaxBatchBytes {
			break
		}
	}
	if len(out)-len(dst) > MaxBatchBytes {
		return dst, fmt.Errorf("batch %d needs more than %d bytes: split it", b.ID, MaxBatchBytes)
	}
	return out, nil
}

func (d *Delivery) appendBinary(out []byte, before *Delivery, accepted int64) []byte {
	var flags byte
	if d.Private {
		flags |= deliveryPrivate
	}
	if d.EveryUpdate {
		flags |= deliveryEveryUpdate
	}
	if d.Failing {
		flags |= deliveryFailing
	}
	if d.Provider == before.Provider {
		flags |= deliverySameProvider
	}
	if d.Locale == before.Locale {
		flags |= deliverySameLocale
	}
	if d.Format == before.Format {
		flags |= deliverySameFormat
	}
	if len(d.Secrets) > 0 {
		flags |= deliverySecrets
	}
	if d.Edition != 0 {
		flags |= deliveryEdition
	}
	out = append(out, flags)
	out = binary.AppendVarint(out, d.Target-before.Target)
	if flags&deliverySameProvider == 0 {
		out = appendString(out, d.Provider)
	}
	out = appendString(out, d.Address)
	if flags&deliverySameLocale == 0 {
		out = appendString(out, d.Locale)
	}
	if flags&deliverySameFormat == 0 {
		out = appendString(out, d.Format)
	}
	out = binary.AppendVarint(out, int64(d.Attempt))
	if flags&deliveryEdition != 0 {
		out = binary.AppendVarint(out, int64(d.Edition))
	}
	out = binary.AppendVarint(out, d.Since.UnixMilli()-accepted)
	if flags&deliverySecrets != 0 {
		out = binary.AppendUvarint(out, uint64(len(d.Secrets)))
		for _, s := range d.Secrets {
			out = appendString(out, s)
		}
	}
	return out
}

func appendString(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

// ParseBatch reads the binary form of a batch. Times come back in UTC. It
// returns a [*VersionError] for a form it doesn't know and [ErrMalformed],
// wrapped, for anything else that [Batch.AppendBinary] didn't write. The batch
// keeps nothing of data; all its strings share one copy.
func ParseBatch(data []byte) (*Batch, error) {
	if len(data) > MaxBatchBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(data), MaxBatchBytes)
	}
	if len(data) < 2 || data[0] != batchMagic {
		return nil, fmt.Errorf("%w: it doesn't begin like a batch", ErrMalformed)
	}
	if data[1] != batchVersion {
		return nil, &VersionError{Version: data[1]}
	}
	r := reader{text: string(data), at: 2}
	b := &Batch{}
	flags := r.byte()
	b.Urgent = flags&batchUrgent != 0
	b.Verify = flags&batchVerify != 0
	b.ID = r.varint()
	b.Incident = r.varint()
	b.Sequence = r.int()
	b.Group = r.string()
	accepted := r.varint()
	b.AcceptedAt = time.UnixMilli(accepted).UTC()
	b.ExpiresAt = time.UnixMilli(accepted + r.varint()).UTC()
	b.Revision = r.varint()
	deliveries, secrets := r.uvarint(), r.uvarint()
	switch {
	case r.failed:
		return nil, fmt.Errorf("%w: cut short or damaged in its head", ErrMalformed)
	case flags&^byte(batchFlags) != 0:
		return nil, fmt.Errorf("%w: unknown flags %#x", ErrMalformed, flags)
	case deliveries > MaxDeliveries:
		return nil, fmt.Errorf("%w: %d deliveries, at most %d are allowed", ErrMalformed, deliveries, MaxDeliveries)
	case secrets > uint64(len(data)-r.at): // each takes a byte or more
		return nil, fmt.Errorf("%w: %d secrets in %d bytes", ErrMalformed, secrets, len(data)-r.at)
	}
	if secrets > 0 {
		r.secrets = make([]string, 0, secrets)
	}
	if deliveries > 0 {
		b.Deliveries = make([]Delivery, deliveries)
	}
	before := &Delivery{}
	for i := range b.Deliveries {
		d := &b.Deliveries[i]
		r.delivery(d, before, accepted)
		if r.failed {
			return nil, fmt.Errorf("%w: cut short or damaged in delivery %d", ErrMalformed, i)
		}
		before = d
	}
	if r.at != len(data) || uint64(len(r.secrets)) != secrets {
		return nil, fmt.Errorf("%w: its counts don't fit its content", ErrMalformed)
	}
	return b, nil
}

// reader goes through the one copy of the bytes. After a failure it yields
// zeros, so that callers check once.
type reader struct {
	text    string
	at      int
	secrets []string // backs the secrets of all deliveries; its capacity was announced
	failed  bool
}

func (r *reader) delivery(d, before *Delivery, accepted int64) {
	flags := r.byte()
	if flags&^byte(deliveryFlags) != 0 {
		r.fail()
	}
	d.Private = flags&deliveryPrivate != 0
	d.EveryUpdate = flags&deliveryEveryUpdate != 0
	d.Failing = flags&deliveryFailing != 0
	d.Target = before.Target + r.varint()
	d.Provider, d.Locale, d.Format = before.Provider, before.Locale, before.Format
	if flags&deliverySameProvider == 0 {
		d.Provider = r.string()
	}
	d.Address = r.string()
	if flags&deliverySameLocale == 0 {
		d.Locale = r.string()
	}
	if flags&deliverySameFormat == 0 {
		d.Format = r.string()
	}
	d.Attempt = r.int()
	if flags&deliveryEdition != 0 {
		if d.Edition = r.int(); d.Edition == 0 {
			r.fail()
		}
	}
	d.Since = time.UnixMilli(accepted + r.varint()).UTC()
	if flags&deliverySecrets == 0 {
		return
	}
	n, from := r.uvarint(), len(r.secrets)
	if n == 0 || n > uint64(cap(r.secrets)-from) {
		r.fail()
		return
	}
	for range n {
		r.secrets = append(r.secrets, r.string())
	}
	d.Secrets = r.secrets[from:len(r.secrets):len(r.secrets)]
}

func (r *reader) fail() {
	r.failed, r.at = true, len(r.text)
}

func (r *reader) byte() byte {
	if r.at >= len(r.text) {
		r.fail()
		return 0
	}
	r.at++
	return r.text[r.at-1]
}

func (r *reader) uvarint() uint64 {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		c := r.byte()
		if shift == 63 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.fail()
	return 0
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) int() int {
	v := r.varint()
	if v > math.MaxInt || v < math.MinInt {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.text)-r.at) {
		r.fail()
		return ""
	}
	s := r.text[r.at : r.at+int(n)]
	r.at += int(n)
	return s
}
