package control

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/cluster/config"
	kube "github.com/skerry-os/skerry/cluster/kubernetes"
)

// What is true of a flag's value.
type check struct {
	what  string
	holds func(value string, set bool) bool
}

var (
	unset    = check{"not set", func(_ string, set bool) bool { return !set }}
	given    = check{"set", func(value string, _ bool) bool { return value != "" }}
	notUnset = func(wrong string) check {
		return check{"not " + wrong, func(value string, _ bool) bool { return value != wrong }}
	}
)

func is(want string) check {
	return check{want, func(value string, _ bool) bool { return value == want }}
}

func has(want string) check {
	return check{"with " + want, func(value string, _ bool) bool { return slices.Contains(strings.Split(value, ","), want) }}
}

func lacks(wrong string) check {
	return check{"without " + wrong, func(value string, _ bool) bool { return !slices.Contains(strings.Split(value, ","), wrong) }}
}

func atLeast(least int) check {
	return check{"at least " + strconv.Itoa(least), func(value string, _ bool) bool {
		n, err := strconv.Atoi(value)
		return err == nil && n >= least
	}}
}

// The numbers are those of the CIS Kubernetes Benchmark v1.11, sections 1.2 to
// 1.4 and 3.2; docs/security.md lists them with the rest.
func TestFlagsPassTheCISBenchmark(t *testing.T) {
	settings := config.Defaults(config.Server)
	settings.NodeName = "test"
	if err := settings.Complete(); err != nil {
		t.Fatal(err)
	}
	c := &Control{Config: settings, Address: "192.0.2.1"}
	server, controllers, scheduler := c.apiServerFlags(nil), c.controllerManagerFlags(), c.schedulerFlags()
	for _, test := range []struct {
		number string
		flags  kube.Flags
		name   string
		check
	}{
		{"1.2.1", server, "anonymous-auth", unset}, // authentication-config allows health checks
		{"1.2.2", server, "token-auth-file", unset},
		{"1.2.3", server, "enable-admission-plugins", has("DenyServiceExternalIPs")},
		{"1.2.4", server, "kubelet-client-certificate", given},
		{"1.2.4", server, "kubelet-client-key", given},
		{"1.2.5", server, "kubelet-certificate-authority", given},
		{"1.2.6", server, "authorization-mode", lacks("AlwaysAllow")},
		{"1.2.7", server, "authorization-mode", has("Node")},
		{"1.2.8", server, "authorization-mode", has("RBAC")},
		{"1.2.10", server, "enable-admission-plugins", lacks("AlwaysAdmit")},
		{"1.2.12", server, "disable-admission-plugins", lacks("ServiceAccount")},
		{"1.2.13", server, "disable-admission-plugins", lacks("NamespaceLifecycle")},
		{"1.2.14", server, "enable-admission-plugins", has("NodeRestriction")},
		{"1.2.15", server, "profiling", is("false")},
		{"1.2.16", server, "audit-log-path", given},
		{"1.2.17", server, "audit-log-maxage", atLeast(30)},
		{"1.2.18", server, "audit-log-maxbackup", atLeast(10)},
		{"1.2.19", server, "audit-log-maxsize", atLeast(100)},
		{"1.2.21", server, "service-account-lookup", notUnset("false")},
		{"1.2.22", server, "service-account-key-file", given},
		{"1.2.24", server, "tls-cert-file", given},
		{"1.2.24", server, "tls-private-key-file", given},
		{"1.2.25", server, "client-ca-file", given},
		{"1.2.27", server, "encryption-provider-config", given},
		{"1.2.29", server, "tls-cipher-suites", given},
		{"1.2.30", server, "service-account-extend-token-expiration", is("false")},
		{"1.3.2", controllers, "profiling", is("false")},
		{"1.3.3", controllers, "use-service-account-credentials", is("true")},
		{"1.3.4", controllers, "service-account-private-key-file", given},
		{"1.3.5", controllers, "root-ca-file", given},
		{"1.3.6", controllers, "feature-gates", lacks("RotateKubeletServerCertificate=false")},
		{"1.3.7", controllers, "secure-port", is("0")}, // nothing listens
		{"1.4.1", scheduler, "profiling", is("false")},
		{"1.4.2", scheduler, "secure-port", is("0")},
		{"3.2.1", server, "audit-policy-file", given},
	} {
		value, set := test.flags[test.name]
		if !test.holds(value, set) {
			t.Errorf("%s: --%s is %q, and should be %s", test.number, test.name, value, test.what)
		}
	}
}
