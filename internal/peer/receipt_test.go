package peer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadReceiptsLeavesOutATornLine(t *testing.T) {
	var b []byte
	for _, r := range []Receipt{seen(1, 1, 200, 1, 2), seen(2, 1, 500, 1, 2)} {
		var err error
		if b, err = r.AppendText(b); err != nil {
			t.Fatal(err)
		}
	}
	var got []int
	if err := ReadReceipts(bytes.NewReader(b[:len(b)-5]), func(r Receipt) { got = append(got, r.Target) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != 1 {
		t.Errorf("got targets %v, want only the whole line's", got)
	}
	err := ReadReceipts(strings.NewReader(string(b)+"nonsense\n"), func(Receipt) {})
	if err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("a faulty line gives %v, want its number", err)
	}
}

func TestReceiptRefusesASeparatorInItsTexts(t *testing.T) {
	if _, err := (Receipt{Incident: "a\tb"}).MarshalText(); err == nil {
		t.Error("a tab in an incident's name would forge a field")
	}
}

func FuzzReceipt(f *testing.F) {
	line, err := seen(1, 1, 200, 1, 2).MarshalText()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte("0\t0\t1\t0\t0\ta line\nfeed\t"))
	f.Fuzz(func(t *testing.T, line []byte) {
		var r, again Receipt
		if r.UnmarshalText(line) != nil {
			return
		}
		text, err := r.MarshalText()
		if err != nil {
			t.Fatalf("%+v was read and can't be written: %v", r, err)
		}
		if err := again.UnmarshalText(text); err != nil || again != r {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

func TestReceiptLogAcrossChunks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "receipts")
	l, err := newReceiptLog(file)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	line := bytes.Repeat([]byte("x"), 1000)
	for len(want) < 3*chunkSize {
		l.append(line)
		want = append(want, line...)
	}
	got := make([]byte, len(want)-7)
	if n, err := l.ReadAt(got, 7); n != len(got) || err != nil || !bytes.Equal(got, want[7:]) {
		t.Fatalf("read %d of %d, %v", n, len(got), err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(written, want) {
		t.Fatalf("the file has %d bytes of %d, %v", len(written), len(want), err)
	}
}
