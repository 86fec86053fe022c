package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func sampleBatch(deliveries int) *Batch {
	accepted := time.UnixMilli(1_795_237_200_123).UTC()
	b := &Batch{
		ID: 1_795_237_200_123_001, Incident: 4711, Sequence: 3, Group: "webhook", Urgent: true, Verify: true,
		AcceptedAt: accepted, ExpiresAt: accepted.Add(24 * time.Hour), Revision: 99_123,
	}
	for i := range deliveries {
		host := fmt.Sprintf("hooks-%03d.example.com:443", i)
		b.Deliveries = append(b.Deliveries, Delivery{
			Target: int64(100_000 + 3*i), Provider: host, Address: "https://" + host + "/services/status/incoming",
			Locale: "en", Format: "tocsin", Private: i%3 == 0, EveryUpdate: i%5 == 0, Failing: i%7 == 0,
			Attempt: i % 4, Edition: i % 2, Since: accepted.Add(-time.Duration(i) * time.Second),
			Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		})
	}
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	str := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "en", "tocsin", "\x00\xff"}))
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "zero") {
			return time.Time{}
		}
		return time.UnixMilli(rapid.Int64Range(-1<<50, 1<<50).Draw(t, "ms")).UTC()
	})
	delivery := rapid.Custom(func(t *rapid.T) Delivery {
		d := Delivery{
			Target: rapid.Int64().Draw(t, "target"), Provider: str.Draw(t, "provider"), Address: str.Draw(t, "address"),
			Locale: str.Draw(t, "locale"), Format: str.Draw(t, "format"), Private: rapid.Bool().Draw(t, "private"),
			EveryUpdate: rapid.Bool().Draw(t, "every"), Failing: rapid.Bool().Draw(t, "failing"),
			Attempt: rapid.Int().Draw(t, "attempt"), Edition: rapid.Int().Draw(t, "edition"), Since: moment.Draw(t, "since"),
		}
		if s := rapid.SliceOfN(str, 0, 3).Draw(t, "secrets"); len(s) > 0 {
			d.Secrets = s
		}
		return d
	})
	rapid.Check(t, func(t *rapid.T) {
		b := &Batch{
			ID: rapid.Int64().Draw(t, "id"), Incident: rapid.Int64().Draw(t, "incident"), Sequence: rapid.Int().Draw(t, "sequence"),
			Group: str.Draw(t, "group"), Urgent: rapid.Bool().Draw(t, "urgent"), Verify: rapid.Bool().Draw(t, "verify"),
			AcceptedAt: moment.Draw(t, "accepted"), ExpiresAt: moment.Draw(t, "expires"), Revision: rapid.Int64().Draw(t, "revision"),
		}
		if ds := rapid.SliceOfN(delivery, 0, MaxDeliveries).Draw(t, "deliveries"); len(ds) > 0 {
			b.Deliveries = ds
		}
		data, err := b.AppendBinary([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		data, ok := bytes.CutPrefix(data, []byte("before"))
		if !ok {
			t.Fatal("what stood in dst is gone")
		}
		got, err := ParseBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		clear(data) // the batch must not point into it
		if !reflect.DeepEqual(got, b) {
			t.Fatalf("got  %+v\nwant %+v", got, b)
		}
	})
}

func TestBatchEveryCutIsMalformed(t *testing.T) {
	data, err := sampleBatch(3).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := ParseBatch(data[:n]); !errors.Is(err, ErrMalformed) {
			t.Fatalf("the first %d of %d bytes: got error %v", n, len(data), err)
		}
	}
	if _, err := ParseBatch(append(data, 0)); !errors.Is(err, ErrMalformed) {
		t.Fatalf("one byte more: got error %v", err)
	}
}

func TestBatchOfNewerVersion(t *testing.T) {
	data, err := sampleBatch(1).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	data[1] = 2
	_, err = ParseBatch(data)
	version, ok := errors.AsType[*VersionError](err)
	if !ok || version.Version != 2 || errors.Is(err, ErrMalformed) {
		t.Fatalf("got %v, want a VersionError for version 2", err)
	}
}

func TestBatchLimits(t *testing.T) {
	kept := []byte("kept")
	if dst, err := sampleBatch(MaxDeliveries + 1).AppendBinary(kept); err == nil || string(dst) != "kept" {
		t.Errorf("%d deliveries: got error %v, dst %q", MaxDeliveries+1, err, dst)
	}
	large := sampleBatch(1)
	large.Deliveries[0].Address = strings.Repeat("x", MaxBatchBytes)
	if dst, err := large.AppendBinary(kept); err == nil || string(dst) != "kept" {
		t.Errorf("too large: got error %v, %d bytes", err, len(dst))
	}
	if _, err := ParseBatch(make([]byte, MaxBatchBytes+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too large: got error %v", err)
	}

	head := binary.AppendVarint([]byte{batchMagic, batchVersion, 0}, 1)
	for range 6 { // incident, sequence, group, accepted, expires, revision
		head = append(head, 0)
	}
	for name, tail := range map[string][]byte{
		"101 deliveries":         {101, 0},
		"secrets without bytes":  append([]byte{1}, binary.AppendUvarint(nil, 1<<40)...),
		"huge count":             binary.AppendUvarint(nil, 1<<63),
		"varint of eleven bytes": bytes.Repeat([]byte{0xff}, 11),
		"secrets not there":      {0, 0, 7},
	} {
		if _, err := ParseBatch(append(bytes.Clone(head), tail...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	if b, err := ParseBatch(append(bytes.Clone(head), 0, 0)); err != nil || b.ID != 1 {
		t.Errorf("the same head with nothing in it: got %v, %v", b, err)
	}
}

func FuzzParseBatch(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		data, err := sampleBatch(n).AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBatch(data)
		if err != nil {
			if _, newer := errors.AsType[*VersionError](err); !newer && !errors.Is(err, ErrMalformed) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := b.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseBatch(again)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, b) {
			t.Fatalf("got  %+v\nwant %+v", got, b)
		}
	})
}

func BenchmarkBatch(b *testing.B) {
	batch := sampleBatch(MaxDeliveries)
	data, err := batch.AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	perDelivery := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/MaxDeliveries, "ns/delivery")
		b.ReportMetric(float64(len(data))/MaxDeliveries, "B/delivery")
	}
	b.Run("AppendBinary", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, len(data))
		for b.Loop() {
			if _, err := batch.AppendBinary(buf); err != nil {
				b.Fatal(err)
			}
		}
		perDelivery(b)
	})
	b.Run("ParseBatch", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseBatch(data); err != nil {
				b.Fatal(err)
			}
		}
		perDelivery(b)
	})
}
