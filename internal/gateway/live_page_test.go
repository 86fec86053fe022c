package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// TestTheLivePageRunsItsOwnScriptAlone: the browser is told so, and the page needs
// nothing else.
func TestTheLivePageRunsItsOwnScriptAlone(t *testing.T) {
	f := start(t, func(f *fixture) { f.opt.Tokens = []string{"a-token-0123456789"} })
	a := f.get("/")
	if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("X-Content-Type-Options") != "nosniff" ||
		a.header.Get("Referrer-Policy") != "no-referrer" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the page is answered with %d %v", a.status, a.header)
	}
	policy := make(map[string]string)
	for directive := range strings.SplitSeq(a.header.Get("Content-Security-Policy"), "; ") {
		name, value, _ := strings.Cut(directive, " ")
		policy[name] = value
	}
	root, err := html.Parse(bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	inline := make(map[string]string)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "style" || n.Data == "script" {
			hash := sha256.Sum256([]byte(n.FirstChild.Data))
			inline[n.Data] += "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
		}
		for _, attribute := range n.Attr {
			switch key := attribute.Key; {
			case strings.HasPrefix(key, "on"), key == "style", key == "src", key == "srcset", key == "action":
				t.Errorf("<%s %s=%q>", n.Data, key, attribute.Val)
			case key == "href" && n.Data != "a" && !strings.HasPrefix(attribute.Val, "data:"):
				t.Errorf("<%s> loads %s", n.Data, attribute.Val)
			}
		}
	}
	for directive, want := range map[string]string{
		"default-src": "'none'", "connect-src": "'self'", "img-src": "data:", "script-src": inline["script"], "style-src": inline["style"],
		"require-trusted-types-for": "'script'", "trusted-types": "'none'", "base-uri": "'none'", "form-action": "'none'",
		"frame-ancestors": "'none'",
	} {
		if policy[directive] != want || want == "" {
			t.Errorf("%s is %q, want %q", directive, policy[directive], want)
		}
		delete(policy, directive)
	}
	if len(policy) > 0 {
		t.Errorf("also allowed: %v", policy)
	}
	if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|localStorage|https?://`).
		FindString(liveScript); found != "" {
		t.Errorf("the script has %s", found)
	}
	if strings.Contains(string(a.body), "{{") {
		t.Error("something was not put into the page")
	}
	if a := f.send("POST", "/", "", nil); a.status != 405 {
		t.Errorf("POST is answered with %d", a.status)
	}
}
