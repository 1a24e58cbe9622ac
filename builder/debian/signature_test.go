package debian

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// gpgv asks GnuPG for its verdict.
func gpgv(t *testing.T, keyring string, signed []byte) bool {
	t.Helper()
	if _, err := exec.LookPath("gpgv"); err != nil {
		t.Fatalf("gpgv is needed: %v", err)
	}
	file := filepath.Join(t.TempDir(), "InRelease")
	if err := os.WriteFile(file, signed, 0o644); err != nil {
		t.Fatal(err)
	}
	return exec.Command("gpgv", "--keyring", keyring, file).Run() == nil
}

const releaseText = "Suite: stable\nCodename: trixie\n- a line with a dash\nDate: x  \nlast: line"

func TestSignedTextAgreesWithGnuPG(t *testing.T) {
	made := time.Now().AddDate(0, 0, -1)
	key, other := newKey(t, made), newKey(t, made)
	good := key.sign(t, releaseText, made.Add(time.Hour))
	edit := func(old, new string) []byte {
		b := bytes.Replace(good, []byte(old), []byte(new), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("%q is not in the message", old)
		}
		return b
	}
	for _, c := range []struct {
		name   string
		signed []byte
		valid  bool
	}{
		{"as it was signed", good, true},
		{"white space at the end of a line", edit("Codename: trixie\n", "Codename: trixie \t\n"), true},
		{"another word", edit("trixie", "sid"), false},
		{"a line more", edit("Suite:", "Extra: 1\nSuite:"), false},
		{"signed by a stranger", other.sign(t, releaseText, made.Add(time.Hour)), false},
		{"cut off", good[:len(good)/2], false},
		{"not signed", []byte(releaseText), false},
	} {
		text, err := signedText(c.signed, mustKeyring(t, key), time.Now())
		if (err == nil) != c.valid {
			t.Errorf("%s: got %v", c.name, err)
		}
		if got := gpgv(t, key.keyring, c.signed); got != c.valid {
			t.Errorf("%s: gpgv says %v", c.name, got)
		}
		if c.valid && text != "Suite: stable\nCodename: trixie\n- a line with a dash\nDate: x\nlast: line" {
			t.Errorf("%s: got text %q", c.name, text)
		}
	}
}

func mustKeyring(t testing.TB, k testKey) *keyring {
	t.Helper()
	keys, err := readKeyring(k.keyring)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSignedTextIsOneMessageAndNothingElse(t *testing.T) {
	key := newKey(t, start.AddDate(-1, 0, 0))
	good := string(key.sign(t, releaseText, start))
	body, signature, _ := strings.Cut(good, beginSignature)
	for _, c := range []struct{ name, message, says string }{
		{"text before", "Suite: evil\n" + good, "not a clear-signed"},
		{"an empty line before", "\n" + good, "not a clear-signed"},
		{"text after", good + "Suite: evil\n", "unsigned text after"},
		{"a second message", good + good, "unsigned text after"},
		{"a message within", body + beginSigned + "\n" + beginSignature + signature, "unexpected line"},
		{"a second signature", good + beginSignature + signature, "unsigned text after"},
		{"no signature", body, "damaged or cut off"},
		{"text in the header", strings.Replace(good, "Hash: SHA256", "Hash: SHA256\nSuite: evil", 1), "damaged or cut off"},
		{"text as the header's value", strings.Replace(good, "Hash: SHA256", "Hash: SHA256\nHash: evil", 1), "damaged or cut off"},
		{"a start line with more", strings.Replace(good, beginSigned, beginSigned+" ", 1), "not a clear-signed"},
		{"a dash not escaped", strings.Replace(good, "- - a line", "-- a line", 1), "unexpected line"},
		{"carriage returns", strings.Replace(good, "stable\n", "stable\r\n", 1), "control characters"},
		{"a zero byte", strings.Replace(good, "stable", "sta\x00ble", 1), "control characters"},
	} {
		if c.message == good {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		text, err := signedText([]byte(c.message), mustKeyring(t, key), start)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %q, %v", c.name, text, err)
		}
	}
	// The Hash header carries no weight: as in RFC 9580, it may be absent.
	if _, err := signedText([]byte(strings.Replace(good, "Hash: SHA256\n", "", 1)), mustKeyring(t, key), start); err != nil {
		t.Errorf("without a Hash header: %v", err)
	}
}

// The files were made by GnuPG 2.2 with one key:
//
//	gpg --digest-algo SHA1 --allow-weak-digest-algos --clearsign
func TestSignedTextRefusesWeakHashes(t *testing.T) {
	keys, err := readKeyring("testdata/gnupg-keyring.gpg")
	if err != nil {
		t.Fatal(err)
	}
	for _, hash := range []string{"sha1", "sha256", "sha512"} {
		signed, err := os.ReadFile("testdata/signed-" + hash + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		text, err := signedText(signed, keys, start)
		switch {
		case hash == "sha1":
			if err == nil || !strings.Contains(err.Error(), "insecure") {
				t.Errorf("%s: got %v", hash, err)
			}
			// The header is not signed and must not make it better.
			lie := bytes.Replace(signed, []byte("Hash: SHA1"), []byte("Hash: SHA512"), 1)
			if _, err := signedText(lie, keys, start); err == nil || bytes.Equal(lie, signed) {
				t.Errorf("%s under another name: got %v", hash, err)
			}
		case err != nil || text != "Suite: stable\nCodename: trixie\n- a line with a dash":
			t.Errorf("%s: got %q, %v", hash, text, err)
		}
	}
}

func TestSignedTextNeedsOneKnownKeyOfSeveral(t *testing.T) {
	known, stranger := newKey(t, start.AddDate(-1, 0, 0)), newKey(t, start.AddDate(-1, 0, 0))
	var b bytes.Buffer
	config := &packet.Config{Time: func() time.Time { return start }}
	w, err := clearsign.EncodeMulti(&b, []*packet.PrivateKey{stranger.entity.PrivateKey, known.entity.PrivateKey}, config)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(releaseText))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := signedText(append(b.Bytes(), '\n'), mustKeyring(t, known), start); err != nil {
		t.Error(err)
	}
}

func TestSignaturesOfTomorrowCountAsTheClockMayBeBehind(t *testing.T) {
	key := newKey(t, start.AddDate(-1, 0, 0))
	signed := key.sign(t, releaseText, start)
	for behind, valid := range map[time.Duration]bool{time.Hour: true, 24 * time.Hour: true, 25 * time.Hour: false} {
		_, err := signedText(signed, mustKeyring(t, key), start.Add(-behind))
		if (err == nil) != valid {
			t.Errorf("%v behind: got %v", behind, err)
		}
		if !valid && !strings.Contains(err.Error(), "the clock here says 2026-02-28 11:00:00") {
			t.Errorf("%v behind: got %v", behind, err)
		}
	}
}

func TestOpenRefusesABadSignatureAndKeepsNothingOfIt(t *testing.T) {
	m := newMirror(t)
	m.publishAll(stanza("one", "1", ""))
	o := m.options(t)
	o.Keyring = newKey(t, start.AddDate(-1, 0, 0)).keyring
	_, err := Open(context.Background(), o)
	if err == nil || !strings.Contains(err.Error(), "no valid signature by a key of the archive keyring") {
		t.Errorf("got %v", err)
	}
	for _, dir := range []string{"release", "index", "tmp"} {
		if names, _ := filepath.Glob(filepath.Join(o.Cache, dir, "*")); len(names) > 0 {
			t.Errorf("cached: %v", names)
		}
	}
	// A good cache does not make a bad signature good.
	o.Keyring = m.key.keyring
	open(t, o)
	m.put("/debian/dists/trixie/InRelease", bytes.Replace(m.files["/debian/dists/trixie/InRelease"], []byte("stable"), []byte("unstab"), 1))
	if _, err := Open(context.Background(), o); err == nil {
		t.Error("took a changed InRelease")
	}
}

func FuzzInRelease(f *testing.F) {
	key := newKey(f, start.AddDate(-1, 0, 0))
	text := "Suite: stable\nCodename: trixie\nDate: " + date(start) + "\nArchitectures: amd64\nComponents: main\nSHA256:\n " + sum(nil) + " 0 main/x"
	keys := mustKeyring(f, key)
	good := key.sign(f, text, start)
	f.Add(good)
	f.Add([]byte(text))
	f.Add(append(good, good...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if signed, err := signedText(b, keys, start); err == nil && signed != text {
			t.Errorf("text that nobody signed: %q", signed)
		}
		r, err := parseRelease(string(b))
		if err != nil {
			return
		}
		for p, c := range r.files {
			if !localPath(p) || c.size < 0 || !validSHA256(c.sha256) {
				t.Errorf("%q: %v", p, c)
			}
		}
	})
}
