package addons

import (
	"strings"
	"testing"

	"github.com/skerry-os/skerry/cluster/config"
)

func settings(t *testing.T, disable ...string) *config.Config {
	t.Helper()
	c := config.Defaults(config.Server)
	c.NodeName, c.DataDir, c.Disable = "n", t.TempDir(), disable
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBatteriesThatAreSwitchedOffHaveNoObjects(t *testing.T) {
	names := func(disable ...string) string {
		sources, err := embedded(settings(t, disable...))
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, s := range sources {
			list = append(list, strings.TrimPrefix(s.name, "battery/"))
		}
		return strings.Join(list, " ")
	}
	if got := names(); got != "rbac coredns local-storage metrics-server network-policy" {
		t.Errorf("all: %s", got)
	}
	if got := names("coredns", "network-policy"); got != "rbac local-storage metrics-server" {
		t.Errorf("two less: %s", got)
	}
	if got := names(config.Batteries...); got != always {
		t.Errorf("none: %s", got)
	}
}

func TestBatteriesFollowTheSettings(t *testing.T) {
	c := settings(t)
	c.ClusterDNS, c.ClusterDomain = "10.43.0.99", "boats.example"
	sources, err := embedded(c)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, s := range sources {
		for _, d := range s.documents {
			text, _ := d.object.MarshalJSON()
			for _, value := range []string{`"clusterIP":"10.43.0.99"`, "kubernetes boats.example in-addr.arpa", CoreDNSImage, MetricsServerImage, NameServersDir(c)} {
				if strings.Contains(string(text), value) {
					found[value] = true
				}
			}
			if d.object.GetKind() == "Deployment" && !strings.Contains(string(text), `"readOnlyRootFilesystem":true`) {
				t.Errorf("%s may write to its root", d.place)
			}
		}
	}
	if len(found) != 5 {
		t.Errorf("found only %v", found)
	}
}
