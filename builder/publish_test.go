package builder

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"

	"github.com/skerry-os/skerry/release"
)

func manifest(t *testing.T) *release.Manifest {
	t.Helper()
	return &release.Manifest{
		Version: "1.2.0", Board: "x86_64", Architecture: "amd64", Kernel: "6.12.1-amd64",
		Time:      time.Unix(1700000000, 0).UTC(),
		Verity:    "root=0,blocks=1,tree=4096,salt=00,hash=" + strings.Repeat("0", 64),
		Artifacts: []release.Artifact{{Name: "skerry-1.2.0-x86_64.slot", Kind: release.KindSlot, Size: 1, SHA256: release.Digest{1}}},
		Packages: []release.Package{{Name: "libc6", Version: "2.41-12", Architecture: "amd64",
			Filename: "pool/main/g/glibc/libc6_2.41-12_amd64.deb", Size: 1, SHA256: release.Digest{1}}},
		Modules: []release.Module{{Path: "golang.org/x/sys", Version: "v0.50.0", Sum: "h1:x"}},
		Images: []release.Image{{Reference: "docker.io/library/shop:v1", SHA256: release.Digest{1}}, {Reference: "docker.io/library/shop:v2", SHA256: release.Digest{2}},
			{Reference: "docker.io/library/shop-v2:x", SHA256: release.Digest{3}}, {Reference: "docker.io/library/shop_v2:x", SHA256: release.Digest{4}}},
	}
}

func TestBillOfMaterialsNamesPackagesModulesAndImages(t *testing.T) {
	contents, err := sbom(manifest(t))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := spdxjson.Read(strings.NewReader(string(contents)))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	identifiers := map[string]bool{}
	for _, p := range doc.Packages {
		id := string(p.PackageSPDXIdentifier)
		if identifiers[id] {
			t.Errorf("identifier %s is there twice", id)
		}
		identifiers[id] = true
		found[p.PackageName] = p.PackageVersion
	}
	for name, version := range map[string]string{"skerry": "1.2.0", "libc6": "2.41-12", "golang.org/x/sys": "v0.50.0", "docker.io/library/shop:v1": "v1", "docker.io/library/shop:v2": "v2"} {
		if found[name] != version {
			t.Errorf("%s: %q, want %q", name, found[name], version)
		}
	}
	if again, _ := sbom(manifest(t)); string(again) != string(contents) {
		t.Error("two bills of one release differ")
	}
}

// sha256sum is the judge of the file with the checksums.
func TestChecksumsOfSeveralReleasesLiveInOneFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, contents string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("other.img", "other")
	write(sumsName, digestOf([]byte("other"))+"  other.img\n"+digestOf(nil)+"  gone.img\n")
	m := manifest(t)
	write("skerry-1.2.0-x86_64.slot", "x")
	sum, err := release.ParseDigest(digestOf([]byte("x")))
	if err != nil {
		t.Fatal(err)
	}
	m.Artifacts[0].SHA256 = sum
	documents, err := documentsOf("skerry-1.2.0-x86_64", dir, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		write(d.name, string(d.contents))
	}
	cmd := exec.Command("sha256sum", "--check", "--strict", sumsName)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), ": OK") != 4 || strings.Contains(string(out), "gone") {
		t.Errorf("%v\n%s", err, out)
	}
}
