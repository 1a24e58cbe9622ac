package inspect

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	maker "github.com/skerry-os/skerry/builder/erofs"
	"github.com/skerry-os/skerry/builder/tree"
	"github.com/skerry-os/skerry/tests/oracle"
)

func TestStoredIsWhatDumpErofsSaysThatFilesTake(t *testing.T) {
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	files := map[string][]byte{
		"usr/bin/skerry":          bytes.Repeat([]byte("compressible "), 100_000),
		"usr/lib/skerry/runc":     append(bytes.Repeat([]byte("x"), 500_000), noise...),
		"usr/lib/skerry/noise":    noise,
		"usr/lib/skerry/x/y/tiny": []byte("tiny"),
		"usr/lib/other":           noise[1:],
	}
	root := tree.New()
	for name, contents := range files {
		if err := root.AddBytes(name, 0o644, contents); err != nil {
			t.Fatal(err)
		}
	}
	// A second name of the first costs nothing.
	const second = "usr/lib/skerry/images/0/rootfs/coredns"
	source := filepath.Join(t.TempDir(), "skerry")
	if err := os.WriteFile(source, files["usr/bin/skerry"], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"usr/bin/skerry", second} {
		if err := root.AddSource(name, 0o755, source); err != nil {
			t.Fatal(err)
		}
	}
	for _, compression := range []maker.Compression{maker.LZ4, maker.LZ4HC} {
		image := filepath.Join(t.TempDir(), "root.erofs")
		size, err := maker.Make(t.Context(), maker.Options{Tree: root, UUID: uuid.New(), Time: time.Unix(0, 0),
			Compression: compression, Output: image, WorkDir: filepath.Dir(image)})
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var all int64
		for name := range files {
			stored, err := Stored(file, size, func(p string) bool { return p == name })
			if err != nil {
				t.Fatal(err)
			}
			said := oracle.Must(t, "dump.erofs", "--path=/"+name, image)
			found := regexp.MustCompile(`On-disk size: (\d+)`).FindStringSubmatch(said)
			if found == nil {
				t.Fatalf("dump.erofs says %s", said)
			}
			if want, _ := strconv.ParseInt(found[1], 10, 64); stored != want {
				t.Errorf("%s %s: %d bytes, and dump.erofs says %d", compression, name, stored, want)
			}
			if OfCluster(name) {
				all += stored
			}
		}
		nodes, err := readErofs(file, size)
		if err != nil {
			t.Fatal(err)
		}
		var found int
		for range filesOf(nodes, func(string) bool { return true }) {
			found++
		}
		if _, ok := nodes[second]; !ok || found != len(files) {
			t.Errorf("%d files, and %d were made, with another name: %v", found, len(files), ok)
		}
		if sum, err := Stored(file, size, OfCluster); err != nil || sum != all || sum == 0 {
			t.Errorf("the cluster takes %d bytes and not %d: %s", sum, all, fmt.Sprint(err))
		}
	}
}
