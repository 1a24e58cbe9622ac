// Package jointoken reads and writes the tokens by which machines join a cluster:
//
//	K10<SHA-256 of the cluster's CA, hexadecimal>::<role>:<secret>
//
// The form is that of k3s. The digest has a joining machine recognise the
// server before it tells the secret.
package jointoken

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"
)

// The roles that a token can stand for.
const (
	Server = "server"
	Agent  = "agent"
)

// longest is the most characters of a secret.
const longest = 512

// Token is what a machine joins with.
type Token struct {
	CA     string // SHA-256 of the CA's certificate in hexadecimal
	Role   string
	Secret string
}

// New makes a token with a secret of 128 bits.
func New(ca, role string) Token {
	var secret [16]byte
	rand.Read(secret[:]) // never fails
	return Token{CA: ca, Role: role, Secret: hex.EncodeToString(secret[:])}
}

// String is the token as a person passes it on. It is a secret.
func (t Token) String() string { return "K10" + t.CA + "::" + t.Role + ":" + t.Secret }

// Parse reads a token.
func Parse(s string) (Token, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), "K10")
	ca, user, cut := strings.Cut(rest, "::")
	role, secret, full := strings.Cut(user, ":")
	switch {
	case !ok || !cut || !full:
		return Token{}, errors.New("a token is K10, the SHA-256 of the cluster's CA, ::, a role, : and a secret; without the CA's digest the server could not be told from another")
	case len(ca) != 64 || strings.Trim(ca, "0123456789abcdef") != "":
		return Token{}, errors.New("after K10 come 64 digits in hexadecimal, the SHA-256 of the cluster's CA; is the token cut off?")
	case role != Server && role != Agent:
		return Token{}, errors.New("the role in the token is neither server nor agent")
	case secret == "" || len(secret) > longest || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }):
		return Token{}, errors.New("the secret of the token is missing, too long, or has characters that no token has")
	}
	return Token{CA: ca, Role: role, Secret: secret}, nil
}

// Matches tells in constant time whether another token has the same secret and
// role.
func (t Token) Matches(other Token) bool {
	return t.Role == other.Role && subtle.ConstantTimeCompare([]byte(t.Secret), []byte(other.Secret)) == 1
}
