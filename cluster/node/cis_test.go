package node

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/join"
)

// The numbers are those of the CIS Kubernetes Benchmark v1.11, sections 4.2 and 4.3;
// docs/security.md lists them with the rest.
func TestANodePassesTheCISBenchmark(t *testing.T) {
	n := &Node{Config: config.Defaults(config.Agent)}
	settings, flags := n.kubeletConfig(&join.Response{}), n.kubeletFlags()
	section := func(names ...string) map[string]any {
		part := settings
		for _, name := range names {
			part, _ = part[name].(map[string]any)
		}
		return part
	}
	_, fromFlags := flags["tls-cipher-suites"]
	suites, _ := settings["tlsCipherSuites"].([]string)
	proxyMetrics, err := netip.ParseAddrPort(n.proxyFlags(&join.Response{})["metrics-bind-address"])
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct {
		number string
		holds  bool
	}{
		{"4.2.1", section("authentication", "anonymous")["enabled"] == false},
		{"4.2.2", section("authorization")["mode"] == "Webhook"},
		{"4.2.3", section("authentication", "x509")["clientCAFile"] == n.clientCAFile()},
		{"4.2.4", settings["readOnlyPort"] == 0},
		{"4.2.5", settings["streamingConnectionIdleTimeout"] == nil}, // the default is four hours
		{"4.2.6", settings["makeIPTablesUtilChains"] == nil},         // the default is true
		{"4.2.9", settings["tlsCertFile"] == n.servingCertFile() && settings["tlsPrivateKeyFile"] == n.runKeyFile()},
		{"4.2.12", !fromFlags && len(suites) > 0 && !slices.Contains(suites, "TLS_RSA_WITH_AES_128_CBC_SHA")},
		{"4.2.13", settings["podPidsLimit"] == mostProcesses},
		{"4.2.14", settings["seccompDefault"] == true},
		{"4.3.1", proxyMetrics.Addr().IsLoopback()},
		{"protect-kernel-defaults", settings["protectKernelDefaults"] == true},
	} {
		if !check.holds {
			t.Errorf("%s does not hold", check.number)
		}
	}
}
