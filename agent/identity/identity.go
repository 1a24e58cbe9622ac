// Package identity keeps what makes a node the same node after a reboot or an
// update: its machine ID, its key, the name it gave itself, how often it booted,
// and the last node config that worked. All of it lies in one folder on data.
//
// Machine ID and key are made once. Files are replaced so that a power cut
// leaves the old or the new one; one that is nevertheless empty or torn, as a
// bad disk leaves it, is replaced with a note that says so. The private key is never
// part of a message, and printing an Identity does not print it.
//
// Using the key is left to others; so is deciding whether a config works.
package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/skerry-os/skerry/agent/wholefile"
)

// Files in the folder.
const (
	machineIDFile = "machine-id"
	keyFile       = "node-key.pem"
	brokenSuffix  = ".broken"
	bootsFile     = "boots"
	configFile    = "last-config.yaml"
)

// Identity is who a node is.
type Identity struct {
	// MachineID is 32 lower-case hexadecimal digits, as in machine-id(5).
	MachineID string
	PublicKey ed25519.PublicKey
	// Boots counts the boots of this node, this one included.
	Boots uint64
	// Notes are sentences a person should read: what had to be made anew.
	Notes []string

	// A function, so that no way of printing the struct shows the key.
	key func() ed25519.PrivateKey
}

// Key returns the node's private key.
func (i Identity) Key() ed25519.PrivateKey { return i.key() }

// Fingerprint is a short name of the public key, "SHA256:" and 43 characters,
// as ssh-keygen prints them, but of the 32 bytes of the key alone.
func (i Identity) Fingerprint() string {
	sum := sha256.Sum256(i.PublicKey)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Load reads the identity in a folder, makes what is missing, and counts this
// boot. Call it once a boot.
func Load(dir string) (Identity, error) {
	var i Identity
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return i, fmt.Errorf("load node identity: %w", err)
	}
	var fresh []wholefile.File
	for _, step := range []func(string) ([]wholefile.File, error){i.loadMachineID, i.loadKey, i.countBoot} {
		made, err := step(dir)
		if err != nil {
			return i, fmt.Errorf("load node identity: %w", err)
		}
		fresh = append(fresh, made...)
	}
	if err := wholefile.Replace(fresh...); err != nil {
		return i, fmt.Errorf("load node identity: %w", err)
	}
	return i, nil
}

func (i *Identity) note(format string, args ...any) {
	i.Notes = append(i.Notes, fmt.Sprintf(format, args...))
}

// read reads a file of at most limit bytes; one longer comes back cut, and so
// invalid. A file that does not exist is nil.
func read(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(limit)+1))
}

// loadMachineID and those after it return the files that are to be made.
func (i *Identity) loadMachineID(dir string) ([]wholefile.File, error) {
	name := filepath.Join(dir, machineIDFile)
	b, err := read(name, 33)
	if err != nil {
		return nil, err
	}
	if id, ok := parseMachineID(b); ok {
		i.MachineID = id
		return nil, nil
	}
	id := make([]byte, 16)
	rand.Read(id)
	// The bits of a random UUID, as systemd sets them.
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	i.MachineID = hex.EncodeToString(id)
	if b != nil {
		i.note("the machine ID in %s was damaged: the node has a new one, %s", name, i.MachineID)
	}
	return []wholefile.File{{Name: name, Contents: []byte(i.MachineID + "\n"), Mode: 0o644}}, nil
}

func parseMachineID(b []byte) (string, bool) {
	b = bytes.TrimSuffix(b, []byte("\n"))
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != 16 || bytes.ContainsAny(b, "ABCDEF") || bytes.Equal(raw, make([]byte, 16)) {
		return "", false
	}
	return string(b), true
}

func (i *Identity) loadKey(dir string) (fresh []wholefile.File, err error) {
	name := filepath.Join(dir, keyFile)
	b, err := read(name, maxKey)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(b)
	if err != nil {
		_, key, _ = ed25519.GenerateKey(nil) // its error is that of a random source passed in
		if len(b) > 0 {
			if err := os.Rename(name, name+brokenSuffix); err != nil {
				return nil, err
			}
			i.note("the node key in %s was damaged (%v) and is kept as %s%s: the node has a new key", name, err, keyFile, brokenSuffix)
		} else if b != nil {
			i.note("the node key in %s was empty: the node has a new key", name)
		}
		fresh = []wholefile.File{{Name: name, Contents: encodeKey(key), Mode: 0o600}}
	} else if err := os.Chmod(name, 0o600); err != nil {
		return nil, err
	}
	i.PublicKey = key.Public().(ed25519.PublicKey)
	i.key = func() ed25519.PrivateKey { return key }
	return fresh, nil
}

// bootsBytes is the length of the counter's file: all digits of a uint64, and
// a newline. It never changes, so that one write of a sector is all it takes.
const bootsBytes = 21

func (i *Identity) countBoot(dir string) ([]wholefile.File, error) {
	name := filepath.Join(dir, bootsFile)
	b, err := read(name, bootsBytes)
	if err != nil {
		return nil, err
	}
	boots, ok := parseBoots(b)
	i.Boots = boots + 1
	text := fmt.Appendf(nil, "%0*d\n", bootsBytes-1, i.Boots)
	if !ok {
		if b != nil {
			i.note("the boot counter in %s was damaged and starts again", name)
		}
		return []wholefile.File{{Name: name, Contents: text, Mode: 0o644}}, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(text, 0)
	return nil, errors.Join(err, f.Sync(), f.Close())
}

func parseBoots(b []byte) (uint64, bool) {
	if len(b) != bootsBytes || b[bootsBytes-1] != '\n' {
		return 0, false
	}
	for _, c := range b[:bootsBytes-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(b[:bootsBytes-1]), 10, 63)
	if err != nil {
		return 0, false
	}
	return n, true
}
