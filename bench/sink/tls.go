package sink

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// certificatesLive is longer than any benchmark.
const certificatesLive = 24 * time.Hour

// NewTLS makes an authority, which it writes to file as PEM, and a certificate of
// it for each host (ECDSA P-256, the address as its only name), all of one key. It
// takes about 50 µs a host. Connections are TLS 1.3, with tickets for resumption.
func NewTLS(at Addresses, file string) (*tls.Config, error) {
	authority, err := newAuthority()
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the sink: %w", err)
	}
	certificates := make([]tls.Certificate, at.Hosts)
	for i := range certificates {
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i) + 2), NotBefore: authority.certificate.NotBefore,
			NotAfter: authority.certificate.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{at.address(i + 1).AsSlice()}}
		der, err := x509.CreateCertificate(rand.Reader, template, authority.certificate, &key.PublicKey, authority.key)
		if err != nil {
			return nil, fmt.Errorf("certificate of a host: %w", err)
		}
		certificates[i] = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	if err := os.WriteFile(file, authority.pem, 0o600); err != nil {
		return nil, fmt.Errorf("certificate of the sink's authority: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13,
		// By the address that was dialled: a client sends no server name for one.
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			host := at.local(hello.Conn)
			if host == 0 {
				return nil, errors.New("this host has no certificate")
			}
			return &certificates[host-1], nil
		}}, nil
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the sink's authority: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Tocsin bench"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificatesLive), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the sink's authority: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate of the sink's authority: %w", err)
	}
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}
