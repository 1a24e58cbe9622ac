//go:build system && soak

package tests

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// soakDisks is how many disks lose power in a run of the long test.
const soakDisks = 25

// Each disk loses power three times before its node was ever switched off in
// order: the later ones hit the recovery from the earlier. Moments are random,
// and the log says by what number they can be had again.
func TestManyPowerCutsInARowAreSurvived(t *testing.T) {
	seed := uint64(time.Now().Unix())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range soakDisks {
		t.Run(fmt.Sprintf("disk %d", i+1), func(t *testing.T) {
			timed(t)
			d := flashed(t, "x86_64")
			for range 3 {
				cutPower(t, d, cut{kernelStarts, 8 * time.Second}.at(random))
			}
			recovers(t, d)
		})
	}
}
