package smtp

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/emersion/go-msgauth/dkim"
)

// DKIM says how to sign mails (RFC 6376, RFC 8463).
type DKIM struct {
	// Domain signs; its public key is at Selector._domainkey.Domain. If it is empty,
	// it is the domain of the relay's From.
	Domain, Selector string
	// KeyFile has the private key in PEM, without a passphrase: RSA of 1,024 bits
	// and more, or Ed25519. Nobody but its owner and group may have access to it,
	// and the group may only read it.
	KeyFile string
}

// signer signs mails. It is safe for concurrent use.
type signer struct{ options dkim.SignOptions }

const minRSABits = 1024

// newSigner reads the key. Errors never have anything of it.
func newSigner(d DKIM) (*signer, error) {
	if !domainName(d.Domain) || !domainName(d.Selector) {
		return nil, errors.New("dkim: domain and selector must be names in the DNS")
	}
	text, err := readKey(d.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("dkim: %w", err)
	}
	key := privateKey(text)
	if key == nil {
		return nil, fmt.Errorf("dkim: %s must have an RSA or Ed25519 private key in PEM, without a passphrase", d.KeyFile)
	}
	if weak, ok := key.(*rsa.PrivateKey); ok && weak.N.BitLen() < minRSABits {
		return nil, fmt.Errorf("dkim: the key in %s is too short; use RSA of 2,048 bits or Ed25519", d.KeyFile)
	}
	s := &signer{dkim.SignOptions{
		Domain: d.Domain, Selector: d.Selector, Signer: key,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		// What readers see or act on. RFC 8058, section 4, asks for the
		// List-Unsubscribe ones. From is there twice so that nobody adds another.
		HeaderKeys: []string{
			"From", "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References",
			"List-Unsubscribe", "List-Unsubscribe-Post", "Auto-Submitted", "MIME-Version", "Content-Type",
		},
	}}
	if _, err := s.sign([]byte("From: a@example.com\r\n\r\n")); err != nil {
		return nil, fmt.Errorf("dkim: the key in %s can't sign: %w", d.KeyFile, err)
	}
	return s, nil
}

// maxKeyBytes is far more than any key has.
const maxKeyBytes = 64 << 10

// readKey reads a file that must be a secret.
func readKey(name string) ([]byte, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w; let the user that tocsin runs as read it", err)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", name)
	case info.Mode().Perm()&0o027 != 0 && runtime.GOOS != "windows": // which has no such bits
		return nil, fmt.Errorf("others may read or change the private key in %s; run chmod g-w,o= on it", name)
	}
	return io.ReadAll(io.LimitReader(file, maxKeyBytes))
}

// privateKey returns the first key in a PEM file, nil if there is none.
func privateKey(text []byte) crypto.Signer {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil
	}
	signer, _ := key.(crypto.Signer)
	return signer
}

// sign returns a message with its DKIM-Signature before it.
func (s *signer) sign(content []byte) ([]byte, error) {
	options := s.options // Sign keeps it while it works
	var out bytes.Buffer
	out.Grow(len(content) + 1024)
	if err := dkim.Sign(&out, bytes.NewReader(content), &options); err != nil {
		return nil, fmt.Errorf("the message can't be signed: %w", err)
	}
	return out.Bytes(), nil
}
