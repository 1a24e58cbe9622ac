package container

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/cluster/config"
)

func TestRegistriesBecomeFoldersAsContainerdReadsThem(t *testing.T) {
	c := &config.Config{RunDir: t.TempDir(), Registries: config.Registries{
		Mirrors: map[string][]string{"docker.io": {"https://mirror.example:5000", "http://192.0.2.1"}, "*": {"https://all.example"}},
		Credentials: map[string]config.Credentials{
			"mirror.example:5000":  {Username: "u", Password: "p"},
			"registry.example.com": {Username: "a", Password: "b"},
		},
	}}
	stale := filepath.Join(registriesDir(c), "old.example", "hosts.toml")
	if err := os.MkdirAll(filepath.Dir(stale), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeRegistries(c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"docker.io": `[host."https://mirror.example:5000"]
  capabilities = ["pull", "resolve"]
  [host."https://mirror.example:5000".header]
    authorization = "Basic dTpw"
[host."http://192.0.2.1"]
  capabilities = ["pull", "resolve"]
`,
		"_default": `[host."https://all.example"]
  capabilities = ["pull", "resolve"]
`,
		"registry.example.com": `[host."https://registry.example.com"]
  capabilities = ["pull", "resolve"]
  [host."https://registry.example.com".header]
    authorization = "Basic YTpi"
`,
	} {
		path := filepath.Join(registriesDir(c), name, "hosts.toml")
		contents, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(contents)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if _, err := os.Stat(filepath.Dir(stale)); !os.IsNotExist(err) {
		t.Error("a registry of an earlier start is still there")
	}
}
