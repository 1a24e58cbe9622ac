package inspect

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/release"
)

func TestManifestBesideTheImageMustAgree(t *testing.T) {
	image := newParts(t, "amd64").image()
	r := report(t, image)
	one := r.Releases[0]
	contents, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	digest := func(s string) release.Digest {
		d, err := release.ParseDigest(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	good := func() *release.Manifest {
		return &release.Manifest{
			Version: testVersion, Board: "x86_64", Architecture: "amd64", Time: testTime, Kernel: testKernel,
			Verity: one.params.String(),
			Artifacts: []release.Artifact{
				{Name: filepath.Base(image), Kind: release.KindImage, Size: int64(len(contents)), SHA256: sha256.Sum256(contents)},
				{Name: "skerry-1.2.0-test.slot", Kind: release.KindSlot, Size: one.Slot.Size, SHA256: digest(one.Slot.SHA256)},
				{Name: testEntry, Kind: release.KindUKI, Size: one.Size, SHA256: digest(one.SHA256)},
			},
		}
	}
	for _, test := range []struct {
		name   string
		change func(*release.Manifest)
		want   []string
	}{
		{"nothing", func(*release.Manifest) {}, nil},
		{"version", func(m *release.Manifest) { m.Version = "1.3.0" }, []string{"It says that the version is 1.3.0, and the image has 1.2.0"}},
		{"kernel", func(m *release.Manifest) { m.Kernel = "6.1.0-old" }, []string{"It says that the kernel is 6.1.0-old"}},
		{"hash tree", func(m *release.Manifest) { m.Verity = strings.Replace(m.Verity, "salt=73", "salt=74", 1) },
			[]string{"It says that the hash tree is"}},
		{"size of the image", func(m *release.Manifest) { m.Artifacts[0].Size++ }, []string{"skerry-1.2.0-test.img: It has"}},
		{"digest of the image", func(m *release.Manifest) { m.Artifacts[0].SHA256[0] ^= 1 },
			[]string{"skerry-1.2.0-test.img: It has the SHA-256"}},
		{"digest of the slot image, which is not there", func(m *release.Manifest) { m.Artifacts[1].SHA256[0] ^= 1 },
			[]string{"the SHA-256 of the slot image is"}},
		{"digest of the kernel image, which is not there", func(m *release.Manifest) { m.Artifacts[2].SHA256[0] ^= 1 },
			[]string{"the SHA-256 of the kernel image is"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := good()
			test.change(m)
			encoded, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(image, ".img") + ".manifest.json"
			if err := os.WriteFile(name, encoded, 0o600); err != nil {
				t.Fatal(err)
			}
			r := report(t, image)
			compare(t, r, test.want)
			if r.Manifest != filepath.Base(name) {
				t.Errorf("manifest is %q", r.Manifest)
			}
		})
	}
}
