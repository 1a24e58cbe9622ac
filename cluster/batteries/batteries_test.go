package batteries

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The program of this test is what its name says, as the single binary is.
func TestMain(m *testing.M) {
	if battery := Named(filepath.Base(os.Args[0])); battery != nil {
		if err := battery(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// run runs a battery with arguments that have it end at once.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), link, args...).CombinedOutput()
	return string(out), err
}

// manifest is a file of package addons.
func manifest(t *testing.T, name string) string {
	t.Helper()
	contents, err := os.ReadFile(filepath.Join("..", "addons", "manifests", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(contents)
}

func TestCoreDNSHasThePluginsOfItsCorefile(t *testing.T) {
	said, err := run(t, "coredns", "-plugins")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	has := map[string]bool{"import": true} // the Corefile's own
	for _, plugin := range strings.Fields(said) {
		has[strings.TrimPrefix(plugin, "dns.")] = true
	}
	// What package nameservers writes to the file that is imported.
	wanted := []string{"forward"}
	for _, line := range regexp.MustCompile(`(?m)^ {8}([a-z]+)`).FindAllStringSubmatch(manifest(t, "coredns/config.yaml"), -1) {
		wanted = append(wanted, line[1])
	}
	if len(wanted) < 8 {
		t.Fatalf("the Corefile has only %v", wanted)
	}
	for _, plugin := range wanted {
		if !has[plugin] {
			t.Errorf("the Corefile names %s, and CoreDNS has\n%s", plugin, said)
		}
	}
}

func TestCoreDNSRefusesPluginsThatItLacks(t *testing.T) {
	corefile := filepath.Join(t.TempDir(), "Corefile")
	if err := os.WriteFile(corefile, []byte(".:0 {\n    route53\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said, err := run(t, "coredns", "-conf", corefile); err == nil || !strings.Contains(said, "route53") {
		t.Errorf("got %v\n%s", err, said)
	}
}

func TestMetricsServerTakesTheFlagsOfItsDeployment(t *testing.T) {
	var args []string
	for _, line := range regexp.MustCompile(`(?m)^ +- (--\S+)$`).FindAllStringSubmatch(manifest(t, "metrics-server/deployment.yaml"), -1) {
		args = append(args, line[1])
	}
	if len(args) < 5 {
		t.Fatalf("the Deployment has only %q", args)
	}
	if said, err := run(t, "metrics-server", append(args, "--version")...); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	if said, err := run(t, "metrics-server", "--nonsense", "--version"); err == nil || strings.TrimSpace(said) != "unknown flag: --nonsense" {
		t.Errorf("got %v\n%s", err, said)
	}
}

func TestOtherNamesAreNoBatteries(t *testing.T) {
	for _, name := range []string{"skerry", "kubectl", "pause", ""} {
		if Named(name) != nil {
			t.Errorf("%q is a battery", name)
		}
	}
}
