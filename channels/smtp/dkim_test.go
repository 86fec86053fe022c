package smtp

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/tocsin/tocsin/channels"
	"github.com/tocsin/tocsin/internal/egress"
)

// keyFile writes a private key and returns the DNS record of its public one.
func keyFile(t *testing.T, key crypto.Signer) (file, record string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if public, ok := key.Public().(ed25519.PublicKey); ok {
		return file, "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return file, "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(public)
}

// Signatures are checked by go-msgauth, as relays received the mails.
func TestDKIM(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"rsa": rsaKey, "ed25519": edKey} {
		t.Run(name, func(t *testing.T) {
			file, record := keyFile(t, key)
			p := &peer{offers: []string{"PIPELINING"}}
			c := newChannel(t, p.start(t), func(c *Config, _ *egress.Config) {
				c.Relays[0].DKIM = &DKIM{Selector: "status", KeyFile: file} // the domain is that of From
				c.Unsubscribe = func(int64) string { return sampleLink }
			})
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() {
					u := sampleUpdate(i%3 + 1)
					u.Title, u.Message = "Störung "+strings.Repeat("lang ", 30), ".\nEnde\n\n\n"
					if r := c.Send(t.Context(), messageOf(t, c, u, channels.Variant{}, address)); r.Class != channels.Delivered {
						t.Errorf("%+v", r)
					}
				})
			}
			all.Wait()
			verify := func(content string) error {
				t.Helper()
				found, err := dkim.VerifyWithOptions(strings.NewReader(content), &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
					if name != "status._domainkey.example.com" {
						t.Errorf("asked for %s", name)
					}
					return []string{record}, nil
				}})
				if err != nil || len(found) != 1 {
					t.Fatal(found, err)
				}
				if found[0].Domain != "example.com" || !strings.Contains(strings.Join(found[0].HeaderKeys, " "), "List-Unsubscribe-Post") {
					t.Errorf("%+v", found[0])
				}
				return found[0].Err
			}
			for _, m := range p.received() {
				if err := verify(m.content); err != nil {
					t.Errorf("%v:\n%s", err, m.content)
				}
				checkLines(t, []byte(m.content), 998)
				for _, change := range [][2]string{{"To: jane", "To: jan"}, {"impact", "Impact"}, {"unsubscribe/7?", "unsubscribe/8?"}, {"\r\nFrom: ", "\r\nFrom: Other <x@other.example>\r\nFrom: "}} {
					if changed := strings.Replace(m.content, change[0], change[1], 1); changed == m.content || verify(changed) == nil {
						t.Errorf("a change of %q goes unnoticed", change[0])
					}
				}
			}
		})
	}
}

func TestShortKeysAreRefused(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 768)
	if err != nil {
		t.Fatal(err)
	}
	file, _ := keyFile(t, key)
	if _, err := newSigner(DKIM{"example.com", "s", file}); err == nil || !strings.Contains(err.Error(), "too short") {
		t.Error(err)
	}
}

// A private key that others can get at is none.
func TestKeysOpenToOthersAreRefused(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file, _ := keyFile(t, key)
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o440: false, 0o644: true, 0o604: true, 0o660: true, 0o602: true} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		_, err := newSigner(DKIM{"example.com", "s", file})
		if refused != (err != nil && strings.Contains(err.Error(), "chmod")) || !refused && err != nil {
			t.Errorf("%v: %v", mode, err)
		}
	}
	if _, err := newSigner(DKIM{"example.com", "s", filepath.Dir(file)}); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a folder: %v", err)
	}
}
