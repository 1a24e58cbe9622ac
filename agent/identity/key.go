package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
)

// pkcs8 is what stands before the 32 bytes of an Ed25519 key in PKCS #8
// (RFC 8410, section 7). All of it is fixed, so the agent does without a parser
// of ASN.1.
var pkcs8 = []byte{
	0x30, 0x2e, // sequence of 46 bytes
	0x02, 0x01, 0x00, // version 0
	0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, // algorithm 1.3.101.112, Ed25519
	0x04, 0x22, 0x04, 0x20, // 34 bytes that hold 32 bytes
}

const pemType = "PRIVATE KEY"

func encodeKey(key ed25519.PrivateKey) []byte {
	der := append(bytes.Clone(pkcs8), key.Seed()...)
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

// maxKey is more than the file of a key has, in bytes.
const maxKey = 4096

// parseKey reads what encodeKey writes. Its errors do not contain the input.
func parseKey(b []byte) (ed25519.PrivateKey, error) {
	if len(b) > maxKey {
		return nil, fmt.Errorf("longer than %d bytes", maxKey)
	}
	block, rest := pem.Decode(b)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("not a PEM file with one block")
	}
	if block.Type != pemType {
		return nil, fmt.Errorf("its PEM block is not called %s", pemType)
	}
	seed, ok := bytes.CutPrefix(block.Bytes, pkcs8)
	if !ok || len(seed) != ed25519.SeedSize {
		return nil, errors.New("not an Ed25519 key in PKCS #8")
	}
	if bytes.Equal(seed, make([]byte, ed25519.SeedSize)) {
		return nil, errors.New("all bytes of the key are zero")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
