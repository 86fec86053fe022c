package egress

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/incident"
)

func TestURLsRefusedAtRegistration(t *testing.T) {
	long := "https://h.example.com/" + strings.Repeat("a", 2048)
	for _, raw := range []string{
		"", "file:///etc/passwd", "gopher://h.example.com/", "ftp://h.example.com/", "//h", "//h.example.com/x", "h.example.com",
		"http:1.2.3.4/", "https:/h.example.com/", "https:///x", "https://", "https://?x", "https:\\\\h.example.com",
		"https://h.example.com/a\r\nX: y", "https://h.example.com/\x00", "https://h.example.com/\x7f", "https://h.example.com/a b", " https://h.example.com/",
		"https://h%00.example.com/", "https://%31.example.com/", "https://h.example.com%2f@evil.example/",
		`https://127.0.0.1\@example.com`, `https://h.example.com\`, "https://[127.0.0.1]/", "https://[::1]]/", "https://[::1/", "https://[]/",
		"https://[::ffff:127.0.0.1]/", "https://::1/", "https://[2606:4700::1111]443/", "https://[2606:4700::1111%25eth0]/", "https://[fe80::1%eth0]/", "https://[v1.a]/",
		"https://h.example.com:0/", "https://h.example.com:-1/", "https://h.example.com:99999/", "https://h.example.com:22/", "https://h.example.com:/", "https://h.example.com:0443/", "https://h.example.com:443:443/", "https://h.example.com:https/",
		"https://user@h.example.com/", "https://user:pw@h.example.com/", "https://@h.example.com/", "https://h.example.com/#f", "https://h.example.com#", long,
		"http://h.example.com/",
		"https://h.example.com./", "https://localhost/", "https://h/", "https://h.internal/", "https://h.local/", "https://a.LOCALHOST/", "https://x.home.arpa/", "https://abc.onion/",
		"https://ⓛocalhost/", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://bücher.example/", "https://h.example.com/ü",
		"https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://0177.0.0.1/", "https://0/", "https://127.0.0.1.5/", "https://0x7f000001/", "https://1.2.3.0x4/", "https://256.1.1.1/",
		"https://127.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/latest/", "https://[::1]/", "https://[fd00:ec2::254]/", "https://[64:ff9b::7f00:1]/", "https://0.0.0.0/",
		"https://a..example.com/", "https://.example.com/", "https://-a.example.com/", "https://a-.example.com/", "https://a*.example.com/", "https://" + strings.Repeat("a", 64) + ".example.com/", "https://" + strings.Repeat("abc.", 64) + "example.com/",
		"javascript:alert(1)", "https//h.example.com", "HTTPS//h.example.com",
	} {
		_, err := newPolicy(t, Rules{}).CheckURL(raw)
		invalid, ok := errors.AsType[*incident.Invalid](err)
		if !ok {
			t.Errorf("%q: %v; want it refused", raw, err)
			continue
		}
		if invalid.Field != "address" || len(invalid.Reason) > 256 {
			t.Errorf("%q: field %q, reason %q", raw, invalid.Field, invalid.Reason)
		}
	}
}

func TestURLsTaken(t *testing.T) {
	p := newPolicy(t, Rules{HTTP: true})
	for raw, want := range map[string]URL{
		"https://hooks.example.com/a//b/../c%2Fd?k=v&k=%20": {Endpoint{"hooks.example.com", 443, true}, "hooks.example.com", "/a//b/../c%2Fd?k=v&k=%20"},
		"https://hooks.example.com":                         {Endpoint{"hooks.example.com", 443, true}, "hooks.example.com", "/"},
		"https://hooks.example.com?q":                       {Endpoint{"hooks.example.com", 443, true}, "hooks.example.com", "/?q"},
		"HTTPS://Hooks.Example.COM:8443/X":                  {Endpoint{"hooks.example.com", 8443, true}, "Hooks.Example.COM:8443", "/X"},
		"http://a_b.xn--bcher-kva.example:80/@x:y":          {Endpoint{"a_b.xn--bcher-kva.example", 80, false}, "a_b.xn--bcher-kva.example:80", "/@x:y"},
		"https://8.8.8.8/":                                  {Endpoint{"8.8.8.8", 443, true}, "8.8.8.8", "/"},
		"https://[2606:4700::AB]:8443/":                     {Endpoint{"2606:4700::ab", 8443, true}, "[2606:4700::AB]:8443", "/"},
		"https://h.example.com/a{b}|c":                      {Endpoint{"h.example.com", 443, true}, "h.example.com", "/a{b}|c"},
	} {
		got, err := p.CheckURL(raw)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", raw, got, err, want)
		}
	}
}

func TestLiteralAddressesNeedTheAllowList(t *testing.T) {
	p := newPolicy(t, Rules{HTTP: true, Allow: []string{"127.0.0.0/8", "10.0.0.0/8:9000"}})
	for raw, allowed := range map[string]bool{
		"http://127.1.2.3:40123/x": true, // the allow-list goes before the list of ports
		"http://10.0.0.1:9000/":    true,
		"http://10.0.0.1:9001/":    false,
		"http://10.0.0.1/":         false,
		"http://8.8.8.8:9000/":     false,
		"http://h.example.com:81/": false,
		"http://127.1/":            false,
	} {
		if _, err := p.CheckURL(raw); (err == nil) != allowed {
			t.Errorf("%s: %v; want allowed = %t", raw, err, allowed)
		}
	}
	if _, err := newPolicy(t, Rules{}).CheckURL("https://10.0.0.1/"); !errors.Is(err, ErrBlocked) {
		t.Errorf("%v; want ErrBlocked as well", err)
	}
	if _, err := newPolicy(t, Rules{}).CheckURL("https://h/"); errors.Is(err, ErrBlocked) {
		t.Errorf("%v; a short name is not blocked, but refused", err)
	}
}

func TestProviderKey(t *testing.T) {
	for raw, want := range map[string]string{
		"https://Hooks.example.com/x":     "hooks.example.com:443",
		"http://hooks.example.com/x":      "hooks.example.com:80",
		"https://hooks.example.com:8443/": "hooks.example.com:8443",
		"https://[2606:4700::1]/":         "[2606:4700::1]:443",
		"http://127.0.0.1:9/":             "127.0.0.1:9",
		"mailto:a@b.example":              "",
	} {
		if got := ProviderKey(raw); got != want {
			t.Errorf("%s: %q; want %q", raw, got, want)
		}
	}
}

// What we take, net/url must understand in the same way.
func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"https://h.example.com:8443/a?b", "http://127.0.0.1\\@e", "https://[::1]/", "https://2130706433/", "https://a@b.c", "https://H.example.com"} {
		f.Add(seed)
	}
	p, err := NewPolicy(Rules{HTTP: true, Allow: []string{"0.0.0.0/0", "::/0"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := p.CheckURL(raw)
		if err != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil {
			// net/url refuses broken percent-encoding in a path; we pass it on.
			if strings.Contains(raw, "%") {
				return
			}
			t.Fatalf("%q: %v", raw, err)
		}
		if u.User != nil || u.Fragment != "" || strings.ToLower(u.Hostname()) != got.Host || u.Host != got.Authority {
			t.Errorf("%q: ours %+v, theirs %+v", raw, got, u)
		}
		if got.Path[0] != '/' || strings.ContainsAny(got.Path+got.Authority, "\r\n \x00") {
			t.Errorf("%q: %+v would break the request line", raw, got)
		}
	})
}

func TestCheckURLDoesNotAllocate(t *testing.T) {
	p := newPolicy(t, Rules{})
	if n := testing.AllocsPerRun(100, func() {
		if _, err := p.CheckURL("https://hooks.example.com/services/T0/B0/x?y=z"); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
