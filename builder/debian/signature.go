package debian

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// DefaultKeyring is where Debian hosts keep the archive's public keys, from
// the package debian-archive-keyring.
const DefaultKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// maxKeyringBytes bounds a keyring. Debian's has 56 kB.
const maxKeyringBytes = 16 << 20

// keyring is the public keys that may sign an archive. Checking a signature
// writes to the keys (they remember which of their own signatures are valid),
// so one check runs at a time.
type keyring struct {
	mu   sync.Mutex
	keys openpgp.EntityList
}

// readKeyring reads OpenPGP public keys, binary or armored.
func readKeyring(path string) (*keyring, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("archive keyring: %w: install debian-archive-keyring or pass --keyring FILE", err)
	}
	if err != nil {
		return nil, fmt.Errorf("archive keyring: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyringBytes))
	if err != nil {
		return nil, fmt.Errorf("archive keyring: %w", err)
	}
	read := openpgp.ReadKeyRing
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")) {
		read = openpgp.ReadArmoredKeyRing
	}
	keys, err := read(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("archive keyring %s: %w: it must hold OpenPGP public keys, not a GnuPG keybox", path, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("archive keyring %s: no keys in it", path)
	}
	return &keyring{keys: keys}, nil
}

const (
	beginSigned    = "-----BEGIN PGP SIGNED MESSAGE-----"
	beginSignature = "-----BEGIN PGP SIGNATURE-----"
)

// signedText returns the text of an InRelease file that at least one key of
// the keyring has signed, in the form the signature covers. The file must be
// one clear-signed message (RFC 9580, section 7) and nothing else: what stands
// before, after or between messages is not signed, and readers that picked
// different parts of such files have been fooled.
func signedText(inRelease []byte, keys *keyring, now time.Time) (string, error) {
	if !bytes.HasPrefix(inRelease, []byte(beginSigned+"\n")) {
		return "", errors.New("it is not a clear-signed message")
	}
	if err := oneMessage(inRelease); err != nil {
		return "", err
	}
	block, rest := clearsign.Decode(inRelease)
	if block == nil {
		return "", errors.New("the clear-signed message is damaged or cut off")
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return "", errors.New("there is unsigned text after the signature")
	}
	signature, err := io.ReadAll(block.ArmoredSignature.Body)
	if err != nil {
		return "", fmt.Errorf("the signature is damaged: %w", err)
	}
	err = checkSignature(block.Bytes, signature, keys, now)
	if err != nil {
		// This machine's clock may be behind the archive's, see release.check.
		// What is valid only from tomorrow on is not what has expired by then.
		if checkSignature(block.Bytes, signature, keys, now.Add(maxClockSkew)) != nil {
			return "", fmt.Errorf("no valid signature by a key of the archive keyring: %w: the clock here says %s", err, now.UTC().Format(time.DateTime))
		}
	}
	return string(block.Plaintext), nil
}

func checkSignature(signed, signature []byte, keys *keyring, now time.Time) error {
	// The Hash header is not signed, so it decides nothing; the hash is the
	// one that the signature itself names, and weak ones do not count.
	config := &packet.Config{
		Time: func() time.Time { return now },
		RejectMessageHashAlgorithms: map[crypto.Hash]bool{
			crypto.MD5: true, crypto.SHA1: true, crypto.RIPEMD160: true, crypto.SHA224: true,
		},
	}
	keys.mu.Lock()
	defer keys.mu.Unlock()
	_, _, err := openpgp.VerifyDetachedSignature(keys.keys, bytes.NewReader(signed), bytes.NewReader(signature), config)
	return err
}

// oneMessage refuses what GnuPG would not have written: a second armor within
// the text or after it, lines that should have been dash-escaped, characters
// that have no business in a Release file.
func oneMessage(b []byte) error {
	signature := false
	for n := 0; len(b) > 0; n++ {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		if bytes.ContainsAny(line, "\x00\r\v\f") {
			return errors.New("it has control characters in it")
		}
		switch {
		case n == 0 || len(line) == 0 || line[0] != '-' || bytes.HasPrefix(line, []byte("- ")):
		case !signature && string(line) == beginSignature:
			signature = true
		case signature && string(line) == "-----END PGP SIGNATURE-----":
			if len(bytes.TrimSpace(b)) != 0 {
				return errors.New("there is unsigned text after the signature")
			}
		default:
			return fmt.Errorf("unexpected line %.60q", line)
		}
	}
	return nil
}
