package node

import (
	"strings"
	"testing"
)

func TestAParameterThatIsLargeEnoughStays(t *testing.T) {
	for old, want := range map[string]bool{"8192": true, "65536": true, "8191": false, "128": false, "": false, "max": false} {
		if atLeast(old, watches.value) != want {
			t.Errorf("%q does: %v", old, !want)
		}
	}
}

func TestOnlyParametersWithOneValueArePersisted(t *testing.T) {
	list := strings.Join(Sysctls(), "\n")
	if !strings.Contains(list, "vm.overcommit_memory=1\n") || !strings.Contains(list, "\nnet.ipv4.ip_forward=1\n") || strings.Contains(list, watches.name) {
		t.Errorf("parameters:\n%s", list)
	}
}
