package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

var sample = []Finding{
	{Check: "relay main", Result: Failure, Found: "connect: refused", Wanted: "an answer", Effect: "mails wait", Fix: "start it"},
	{Check: "clock", Result: OK, Found: "now", Wanted: "later"},
	{Check: "open files", Result: Warning, Found: "20000", Wanted: "65536", Effect: "less at once", Fix: "raise it"},
	{Check: "a name that is long", Result: Skipped, Found: "no permission"},
	{Check: "memory", Result: OK, Found: "4 <GiB>"},
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	if err := WriteText(&out, sample); err != nil {
		t.Fatal(err)
	}
	want := `ok       clock                now
ok       memory               4 <GiB>
skipped  a name that is long  no permission

WARNING  open files
  found   20000
  wanted  65536
  effect  less at once
  fix     raise it

FAILURE  relay main
  found   connect: refused
  wanted  an answer
  effect  mails wait
  fix     start it

1 failure, 1 warning, 2 ok, 1 skipped
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if err := WriteText(full{}, sample); err == nil {
		t.Error("a write that failed is no error")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestJSON(t *testing.T) {
	for _, tc := range []struct {
		findings []Finding
		want     Result
	}{{sample, Failure}, {sample[1:], Warning}, {sample[3:], OK}} {
		var out bytes.Buffer
		if err := WriteJSON(&out, tc.findings); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Result                          Result
			OK, Skipped, Warnings, Failures int
			Checks                          []Finding
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Result != tc.want || len(got.Checks) != len(tc.findings) || got.Checks[0] != tc.findings[0] ||
			got.OK+got.Skipped+got.Warnings+got.Failures != len(tc.findings) {
			t.Errorf("got %+v", got)
		}
	}
}
