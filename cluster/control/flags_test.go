package control

import (
	"strconv"
	"testing"

	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"github.com/skerry-os/skerry/cluster/config"
)

// For each controller an account is looked for, its namespace too, the account
// is made if it is not there, looked for again, and a token is made for it.
func TestFirstStartIsWithinTheBurstOfTheControllers(t *testing.T) {
	c := &Control{Config: config.Defaults(config.Server)}
	burst, err := strconv.Atoi(c.controllerManagerFlags()["kube-api-burst"])
	if known := len(controllermanager.KnownControllers()); err != nil || burst < 5*known {
		t.Errorf("%d controllers share a burst of %d requests, %v", known, burst, err)
	}
}
