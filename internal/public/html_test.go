package public

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// elements returns the elements of a page by name.
func elements(t *testing.T, page string) map[string][]*html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]*html.Node)
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			found[n.Data] = append(found[n.Data], n)
		}
	}
	return found
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func words(n *html.Node) string {
	var all strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			all.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(all.String()), " ")
}

func TestThePageAsks(t *testing.T) {
	h := open(t, nil)
	got := h.send("GET", h.handler.Link(7), "", "")
	page := elements(t, got.body)
	checkPage(t, got, page)
	if title := words(page["title"][0]); title != "Unsubscribe?" || words(page["h1"][0]) != title {
		t.Errorf("titled %q", title)
	}
	if said := words(page["p"][0]); said != "This would end status updates of the page default by e-mail to o…@example.com." {
		t.Errorf("it says %q", said)
	}
	if len(page["form"]) != 1 || len(page["button"]) != 1 {
		t.Fatalf("%d forms, %d buttons", len(page["form"]), len(page["button"]))
	}
	form, button := page["form"][0], page["button"][0]
	if attribute(form, "method") != "post" || attribute(form, "action") != "" || button.Parent != form || words(button) != "Unsubscribe" {
		t.Error("the form is not what it should be")
	}

	// What a browser does with the button.
	body := attribute(button, "name") + "=" + attribute(button, "value")
	got = h.send("POST", h.handler.Link(7), urlencoded, body)
	h.want("the button", got, 200)
	page = elements(t, got.body)
	checkPage(t, got, page)
	if h.times() != 1 || words(page["h1"][0]) != "You are unsubscribed" || len(page["form"]) != 0 {
		t.Errorf("unsubscribed %d times; %s", h.times(), got.body)
	}
	if again := h.send("GET", h.handler.Link(7), "", ""); again.body != got.body {
		t.Error("looking again shows something else")
	}
}

func TestThePageOfALostLink(t *testing.T) {
	h := open(t, nil)
	got := h.send("GET", h.handler.Link(8), "", "")
	page := elements(t, got.body)
	checkPage(t, got, page)
	if len(page["form"]) != 0 || strings.Contains(got.body, "example.com") {
		t.Error(got.body)
	}
}

// What an address or a page is called stays text.
func TestThePageEscapes(t *testing.T) {
	h := open(t, nil)
	h.set(func() { h.mailbox = `x@"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}` })
	got := h.send("GET", h.handler.Link(7), "", "")
	page := elements(t, got.body)
	checkPage(t, got, page)
	if said := words(page["p"][0]); !strings.Contains(said, `…@"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}.`) {
		t.Errorf("it says %q", said)
	}
}

// checkPage wants a page that works for everyone and lets nothing in.
func checkPage(t *testing.T, got reply, page map[string][]*html.Node) {
	t.Helper()
	if lang := attribute(page["html"][0], "lang"); lang != "en" {
		t.Errorf("the language is %q", lang)
	}
	for _, name := range []string{"title", "main", "h1", "style"} {
		if len(page[name]) != 1 {
			t.Errorf("%d of %s", len(page[name]), name)
		}
	}
	viewport := slices.ContainsFunc(page["meta"], func(n *html.Node) bool {
		return attribute(n, "name") == "viewport" && !strings.Contains(attribute(n, "content"), "scalable")
	})
	if !viewport || !strings.HasPrefix(got.body, "<!DOCTYPE html>") {
		t.Error("the page is not made for small screens, can't be enlarged, or is in quirks mode")
	}
	for name, nodes := range page {
		if !slices.Contains([]string{"html", "head", "meta", "title", "style", "body", "main", "h1", "p", "strong", "form", "button"}, name) {
			t.Errorf("there is a %s on the page", name)
		}
		for _, n := range nodes {
			for _, a := range n.Attr {
				if !slices.Contains([]string{"lang", "charset", "name", "content", "method", "type", "value"}, a.Key) {
					t.Errorf("%s has the attribute %s", name, a.Key)
				}
			}
		}
	}
	hash := sha256.Sum256([]byte(page["style"][0].FirstChild.Data))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if policy := got.header.Get("Content-Security-Policy"); policy != want {
		t.Errorf("the policy is %q, want %q", policy, want)
	}
	if strings.Contains(page["style"][0].FirstChild.Data, "url(") || strings.Contains(page["style"][0].FirstChild.Data, "@import") {
		t.Error("the style loads something")
	}
}
