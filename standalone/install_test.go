package standalone

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/skerry-os/skerry/distribution"
	"github.com/skerry-os/skerry/distribution/place"
	"github.com/skerry-os/skerry/release"
)

// root is a machine's root with some versions unpacked.
func root(t *testing.T, versions ...string) place.Place {
	t.Helper()
	p := place.Place{Root: t.TempDir()}
	for _, version := range versions {
		text, err := (&distribution.Manifest{Version: release.Version(version)}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(p.Version(version), distribution.ManifestName), string(text))
	}
	return p
}

func put(t *testing.T, name, contents string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, p place.Place, path string) string {
	t.Helper()
	contents, err := os.ReadFile(p.Path(path))
	if err != nil {
		t.Error(err)
	}
	return string(contents)
}

func server(p place.Place) Install {
	return Install{
		Place: p, Version: "1.0.0", Settings: Settings{"role": "server", "tls-san": []string{"shop.example"}},
		Modules: []string{"overlay", "vxlan"}, Sysctls: []string{"kernel.panic=10"},
	}
}

const token = "K10" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" + "::agent:secret"

func agent(p place.Place) Install {
	i := server(p)
	i.Settings = Settings{"role": "agent", "server": "https://192.0.2.10:6443"}
	i.ServerState, i.Joined = "/var/lib/skerry/server/db", "/var/lib/skerry/agent/server-ca.crt"
	return i
}

// install runs an installation and returns what it says.
func install(t *testing.T, i Install) string {
	t.Helper()
	var out bytes.Buffer
	i.Out = &out
	if err := i.Run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}

// refused runs an installation that has to fail without a change of any file.
func refused(t *testing.T, i Install, want string) {
	t.Helper()
	before := files(t, i.Root)
	var out bytes.Buffer
	i.Out = &out
	if err := i.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, and not %q", err, want)
	}
	if after := files(t, i.Root); !slices.Equal(before, after) {
		t.Errorf("files before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

// files are all files, links and folders below a folder, with modes and contents.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		if info.Mode().IsRegular() {
			contents, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text = string(contents)
		} else if info.Mode()&fs.ModeSymlink != 0 {
			text, err = os.Readlink(name)
		}
		list = append(list, strings.Join([]string{strings.TrimPrefix(name, dir), info.Mode().String(), text}, " "))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAnInstallationBelowAFolderIsWhatABootNeeds(t *testing.T) {
	p := root(t, "1.0.0")
	i := server(p)
	i.Token = token
	install(t, i)
	if got, want := get(t, p, SettingsFile), "role: server\ntls-san:\n- shop.example\n"; !strings.HasSuffix(got, want) {
		t.Errorf("settings:\n%s", got)
	}
	for _, path := range []string{SettingsFile, TokenFile} {
		if info, err := os.Stat(p.Path(path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if got := get(t, p, modulesFile); !strings.HasSuffix(got, "\noverlay\nvxlan\n") {
		t.Errorf("modules:\n%s", got)
	}
	if got := get(t, p, sysctlFile); !strings.HasSuffix(got, "\nkernel.panic = 10\n") {
		t.Errorf("parameters:\n%s", got)
	}
	if got := get(t, p, unitFile); got != unit {
		t.Errorf("unit:\n%s", got)
	}
	for path, want := range map[string]string{
		wantsLink:                "/etc/systemd/system/skerry.service",
		"/usr/local/bin/skerry":  "/usr/local/lib/skerry/current/skerry",
		"/usr/local/bin/kubectl": "/usr/local/lib/skerry/current/skerry",
		place.Lib + "/current":   "1.0.0",
	} {
		if got, err := os.Readlink(p.Path(path)); err != nil || got != want {
			t.Errorf("%s leads to %q, %v", path, got, err)
		}
	}
}

func TestASecondInstallationChangesNothing(t *testing.T) {
	p := root(t, "1.0.0")
	install(t, server(p))
	before := files(t, p.Root)
	if out := install(t, server(p)); !strings.Contains(out, "kept "+p.Path(SettingsFile)) || strings.Contains(out, "wrote") {
		t.Errorf("it says:\n%s", out)
	}
	if after := files(t, p.Root); !slices.Equal(before, after) {
		t.Errorf("files before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}

func TestAnUpdateRemovesTheFormerVersionAndKeepsSettings(t *testing.T) {
	p := root(t, "1.0.0", "1.1.0")
	install(t, server(p))
	if _, err := os.Stat(p.Version("1.1.0")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a version that does not run is still there: %v", err)
	}
	put(t, filepath.Join(p.Version("1.1.0"), distribution.ManifestName), get(t, p, filepath.Join(place.Lib, "1.0.0", distribution.ManifestName)))
	put(t, p.Path(SettingsFile), "# mine\nrole: server\n")
	i := server(p)
	i.Version, i.Settings = "1.1.0", Settings{"role": "server"}
	if out := install(t, i); !strings.Contains(out, "removed version 1.0.0") {
		t.Errorf("it says:\n%s", out)
	}
	if running, err := p.Running(); err != nil || running != "1.1.0" {
		t.Errorf("running: %s, %v", running, err)
	}
	if versions, err := p.Versions(); err != nil || !slices.Equal(versions, []string{"1.1.0"}) {
		t.Errorf("versions: %v, %v", versions, err)
	}
	if got := get(t, p, SettingsFile); got != "# mine\nrole: server\n" {
		t.Errorf("settings:\n%s", got)
	}
}

func TestSettingsThatAreThereAreNotOverwritten(t *testing.T) {
	p := root(t, "1.0.0")
	const mine = "# mine\ntls-san: shop.example\nservice-cidr: 10.44.0.0/16\n"
	put(t, p.Path(SettingsFile), mine)
	install(t, server(p)) // they say the same of all that is given
	if got := get(t, p, SettingsFile); got != mine {
		t.Errorf("settings:\n%s", got)
	}
	i := server(p)
	i.Settings = Settings{"role": "server", "tls-san": []string{"other.example"}, "cluster-cidr": "10.45.0.0/16"}
	refused(t, i, "says something else about --cluster-cidr, --tls-san")
	i.Replace = true
	install(t, i)
	if got := get(t, p, SettingsFile); !strings.HasSuffix(got, "cluster-cidr: 10.45.0.0/16\nrole: server\ntls-san:\n- other.example\n") {
		t.Errorf("settings:\n%s", got)
	}
	if got := get(t, p, formerSettings); got != mine {
		t.Errorf("former settings:\n%s", got)
	}
}

func TestFlagsThatWereGivenAreTheSettings(t *testing.T) {
	inherited := pflag.NewFlagSet("install", pflag.ContinueOnError)
	inherited.String("root", "", "")
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	flags.AddFlagSet(inherited)
	flags.String("node-name", "default", "")
	flags.String("cluster-cidr", "10.42.0.0/16", "")
	flags.Bool("disable-agent", false, "")
	flags.StringSlice("disable", nil, "")
	flags.StringArray("node-label", nil, "")
	if err := flags.Parse([]string{"--root=/x", "--node-name=a", "--disable-agent", "--disable=coredns,servicelb", "--node-label=a=1,2"}); err != nil {
		t.Fatal(err)
	}
	want := Settings{"role": "server", "node-name": "a", "disable-agent": true, "disable": []string{"coredns", "servicelb"}, "node-label": []string{"a=1,2"}}
	if got := GivenSettings("server", flags, inherited); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestAServerDoesNotBecomeAnAgentByTheWay(t *testing.T) {
	p := root(t, "1.0.0")
	for _, there := range []string{"role: server\n", "tls-san: a\n"} {
		put(t, p.Path(SettingsFile), there)
		for _, replace := range []bool{false, true} {
			i := agent(p)
			i.Token, i.Replace = token, replace
			refused(t, i, "says that this machine is a server: run `skerry uninstall --purge`")
		}
	}
}

func TestAnAgentCanJoin(t *testing.T) {
	p := root(t, "1.0.0")
	refused(t, agent(p), "--token-file")
	i := agent(p)
	i.Token = "K10abc::agent:secret"
	refused(t, i, "is the token cut off?")
	i.Token, i.Settings["token"] = "", "secret"
	refused(t, i, "the token: a token is K10")
	put(t, p.Path("/var/lib/skerry/server/db/state.db"), "state")
	i = agent(p)
	i.Token = token
	refused(t, i, "/var/lib/skerry/server/db is the state of a cluster server")

	p = root(t, "1.0.0")
	i = agent(p)
	i.Token, i.Settings["token-file"] = token, TokenFile
	install(t, i)
	if got := get(t, p, TokenFile); got != token+"\n" {
		t.Errorf("token: %s", got)
	}
	install(t, agent(p)) // the settings name the file

	p = root(t, "1.0.0")
	put(t, p.Path("/var/lib/skerry/agent/server-ca.crt"), "CA")
	install(t, agent(p)) // its key is known to the server
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	p := root(t, "1.0.0")
	put(t, p.Path(SettingsFile), "role: server\nrole: agent\n")
	refused(t, server(p), SettingsFile)
}

func TestFilesOfOthersStay(t *testing.T) {
	p := root(t, "1.0.0")
	put(t, p.Path("/usr/local/bin/kubectl"), "theirs")
	if out := install(t, server(p)); !strings.Contains(out, "kubectl stays as it is") {
		t.Errorf("it says:\n%s", out)
	}
	if got := get(t, p, "/usr/local/bin/kubectl"); got != "theirs" {
		t.Errorf("kubectl: %s", got)
	}
	uninstall(t, p, true)
	if got := get(t, p, "/usr/local/bin/kubectl"); got != "theirs" {
		t.Errorf("kubectl after uninstalling: %s", got)
	}
	other := root(t, "1.0.0")
	put(t, other.Path("/usr/local/bin/skerry"), "theirs")
	refused(t, server(other), "/usr/local/bin/skerry is there and was not made by `skerry install`")
}

func TestAVersionThatIsNotThereIsNotInstalled(t *testing.T) {
	i := server(root(t, "1.0.0"))
	i.Version = "2.0.0"
	refused(t, i, "run the file that was downloaded")
}

func uninstall(t *testing.T, p place.Place, purge bool) string {
	t.Helper()
	var out bytes.Buffer
	u := Uninstall{Place: p, DataDir: "/var/lib/skerry", RunDir: "/run/skerry", Out: &out, Traces: Traces{Networks: []string{"skerry"}}, Purge: func() bool { return purge }}
	if err := u.Run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}

func TestUninstallingLeavesWhatWasThereBefore(t *testing.T) {
	p := root(t)
	put(t, p.Path("/etc/hostname"), "shop-17\n")
	put(t, p.Path("/usr/local/bin/tool"), "x")
	put(t, p.Path("/var/lib/cni/results/podman-1-eth0"), "of another container runtime")
	onlyFiles := func() (list []string) {
		for _, file := range files(t, p.Root) {
			if !strings.Contains(file, " d") { // folders may stay
				list = append(list, file)
			}
		}
		return list
	}
	before := onlyFiles()
	put(t, filepath.Join(p.Version("1.0.0"), distribution.ManifestName), `{"format": 1, "version": "1.0.0"}`)
	install(t, server(p))
	put(t, p.Path("/var/lib/skerry/server/db/state.db"), "state")
	put(t, p.Path("/run/skerry/sock"), "")
	put(t, p.Path("/var/lib/cni/results/skerry-1-eth0"), "of a Pod")

	out := uninstall(t, p, false)
	for _, want := range []string{"kept " + p.Path("/var/lib/skerry"), "kept " + p.Path("/etc/skerry"), "--purge"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	kept := slices.DeleteFunc(onlyFiles(), func(s string) bool { return slices.Contains(before, s) })
	if len(kept) != 2 || !strings.HasPrefix(kept[0], SettingsFile) || !strings.HasPrefix(kept[1], "/var/lib/skerry/server/db/state.db") {
		t.Errorf("left:\n%s", strings.Join(kept, "\n"))
	}
	uninstall(t, p, true) // what is gone is no error
	if after := onlyFiles(); !slices.Equal(before, after) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
}
