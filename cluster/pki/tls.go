package pki

import "crypto/x509"

// CipherSuites are those of TLS 1.2 that have forward secrecy and
// authenticated encryption; TLS 1.3 has no others.
var CipherSuites = []string{
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

// Pool are the authorities in a PEM file. There has to be one at least.
func Pool(contents []byte) (*x509.CertPool, error) {
	certificates, err := ParseCertificates(contents)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool, nil
}
