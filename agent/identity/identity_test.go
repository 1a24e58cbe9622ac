package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func load(t *testing.T, dir string) Identity {
	t.Helper()
	i, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func put(t *testing.T, dir, name string, contents []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), contents, 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib/skerry")
	first := load(t, dir)
	if !regexp.MustCompile("^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$").MatchString(first.MachineID) {
		t.Errorf("machine ID %q is not that of a random UUID", first.MachineID)
	}
	if first.Boots != 1 || len(first.Notes) != 0 {
		t.Errorf("first boot: %d boots, notes %q", first.Boots, first.Notes)
	}
	second := load(t, dir)
	if second.MachineID != first.MachineID || !bytes.Equal(second.Key(), first.Key()) || second.Boots != 2 || len(second.Notes) != 0 {
		t.Errorf("second boot: %+v", second)
	}
	if other := load(t, t.TempDir()); other.MachineID == first.MachineID || bytes.Equal(other.Key(), first.Key()) {
		t.Error("two nodes have the same identity")
	}
	if !ed25519.Verify(first.PublicKey, []byte("x"), ed25519.Sign(second.Key(), []byte("x"))) {
		t.Error("public and private key do not belong together")
	}
}

func TestKeyIsPKCS8AsTheLibraryReadsIt(t *testing.T) {
	dir := t.TempDir()
	i := load(t, dir)
	block, _ := pem.Decode(get(t, dir, keyFile))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil || !i.Key().Equal(key.(ed25519.PrivateKey)) {
		t.Errorf("crypto/x509 reads another key, %v", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(i.Key())
	if err != nil || !bytes.Equal(der, block.Bytes) {
		t.Errorf("crypto/x509 writes another file, %v", err)
	}
}

func TestSecretsAreForRootAlone(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, keyFile+".new", []byte("left by a power cut, with another mode"))
	load(t, dir)
	check := func() {
		t.Helper()
		if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key: %v, %v", info.Mode(), err)
		}
	}
	check()
	if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	load(t, dir)
	check()
	if err := KeepConfig(dir, []byte("token: x\n")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, configFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("config: %v, %v", info.Mode(), err)
	}
}

func TestDamagedMachineIDIsReplacedWithANote(t *testing.T) {
	good := "0123456789ab4def8123456789abcdef"
	for _, damaged := range []string{"", good[:20], strings.ToUpper(good), strings.Repeat("0", 32), good + "0", "uninitialized\n", strings.Repeat("\x00", 33), good + "\n\n"} {
		dir := t.TempDir()
		put(t, dir, machineIDFile, []byte(damaged))
		i := load(t, dir)
		if len(i.Notes) != 1 || !strings.Contains(i.Notes[0], "machine ID") {
			t.Errorf("%q: notes %q", damaged, i.Notes)
		}
		if again := load(t, dir); again.MachineID != i.MachineID || len(again.Notes) != 0 {
			t.Errorf("%q: next boot: %+v", damaged, again)
		}
	}
	for _, valid := range []string{good, good + "\n"} {
		dir := t.TempDir()
		put(t, dir, machineIDFile, []byte(valid))
		if i := load(t, dir); i.MachineID != good || len(i.Notes) != 0 {
			t.Errorf("%q: %+v", valid, i)
		}
	}
}

func TestDamagedKeyIsReplacedAndKeptAside(t *testing.T) {
	whole := t.TempDir()
	load(t, whole)
	good := get(t, whole, keyFile)
	for cut := range len(good) - 1 {
		dir := t.TempDir()
		put(t, dir, keyFile, good[:cut])
		i := load(t, dir)
		if cut == 0 {
			if len(i.Notes) != 1 || !strings.Contains(i.Notes[0], "empty") {
				t.Errorf("empty: notes %q", i.Notes)
			}
			continue
		}
		if len(i.Notes) != 1 || !bytes.Equal(get(t, dir, keyFile+brokenSuffix), good[:cut]) {
			t.Errorf("cut to %d bytes: notes %q", cut, i.Notes)
		}
		if again := load(t, dir); !again.Key().Equal(i.Key()) || len(again.Notes) != 0 {
			t.Errorf("cut to %d bytes: next boot: %q", cut, again.Notes)
		}
	}
	_, key, _ := ed25519.GenerateKey(nil)
	for what, b := range map[string][]byte{
		"another type": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: append(bytes.Clone(pkcs8), key.Seed()...)}),
		"all zero":     pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: append(bytes.Clone(pkcs8), make([]byte, 32)...)}),
		"two keys":     append(encodeKey(key), encodeKey(key)...),
		"too long":     append(encodeKey(key), bytes.Repeat([]byte(" "), 5000)...),
	} {
		dir := t.TempDir()
		put(t, dir, keyFile, b)
		if i := load(t, dir); len(i.Notes) != 1 {
			t.Errorf("%s: notes %q", what, i.Notes)
		}
	}
}

func TestDamagedBootCounterStartsAgain(t *testing.T) {
	for _, damaged := range []string{"", "12\n", "0000000000000000001x\n", "99999999999999999999\n", "-0000000000000000001\n", strings.Repeat("1", 500)} {
		dir := t.TempDir()
		put(t, dir, bootsFile, []byte(damaged))
		if i := load(t, dir); i.Boots != 1 || len(i.Notes) != 1 {
			t.Errorf("%q: %d boots, notes %q", damaged, i.Boots, i.Notes)
		}
		if i := load(t, dir); i.Boots != 2 || len(i.Notes) != 0 {
			t.Errorf("%q: next boot: %d boots, notes %q", damaged, i.Boots, i.Notes)
		}
	}
}

func TestNoWayOfPrintingShowsThePrivateKey(t *testing.T) {
	dir := t.TempDir()
	i := load(t, dir)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb, i)
		fmt.Fprintf(&out, verb, &i)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("node", "identity", i)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("node", "identity", i)
	if err := json.NewEncoder(&out).Encode(i); err != nil {
		t.Fatal(err)
	}
	seed := i.Key().Seed()
	for _, form := range []string{string(seed), hex.EncodeToString(seed), strings.Trim(fmt.Sprint(seed[:8]), "[]"), strings.Trim(fmt.Sprintf("%#v", seed[:8]), "[]byte{}")} {
		if strings.Contains(out.String(), form) {
			t.Error("the private key was printed")
		}
	}
	put(t, dir, keyFile, append(get(t, dir, keyFile), 'x'))
	body := strings.Split(string(get(t, dir, keyFile)), "\n")[1]
	if i := load(t, dir); strings.Contains(strings.Join(i.Notes, ""), body[20:]) {
		t.Error("a note has the key")
	}
}

func TestLastConfigIsWhatWasKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if _, err := LastConfig(dir); !errors.Is(err, ErrNoConfig) {
		t.Errorf("got %v", err)
	}
	for _, raw := range []string{"a: 1\n", "# not UTF-8: \xff\n", "a: 1\n"} {
		if err := KeepConfig(dir, []byte(raw)); err != nil {
			t.Fatal(err)
		}
		if got, err := LastConfig(dir); err != nil || string(got) != raw {
			t.Errorf("got %q, %v", got, err)
		}
	}
	before, err := os.Stat(filepath.Join(dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := KeepConfig(dir, []byte("a: 1\n")); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(filepath.Join(dir, configFile)); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same config was written again, %v", err)
	}
	for _, raw := range [][]byte{nil, make([]byte, maxConfig+1)} {
		if err := KeepConfig(dir, raw); err == nil {
			t.Errorf("a config of %d bytes was kept", len(raw))
		}
	}
	put(t, dir, configFile, nil)
	if _, err := LastConfig(dir); !errors.Is(err, ErrNoConfig) {
		t.Errorf("empty file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	_, key, _ := ed25519.GenerateKey(nil)
	f.Add(encodeKey(key))
	f.Add([]byte("0123456789ab4def8123456789abcdef\n"))
	f.Add([]byte("00000000000000000007\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseKey(b)
		parseBoots(b)
		parseMachineID(b)
	})
}
