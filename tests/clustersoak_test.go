//go:build system && soak

package tests

import "testing"

// Compiling the cluster for a second architecture takes a quarter of an hour
// with cold caches.
func TestAnImageForArm64IsAClusterByItself(t *testing.T) { isACluster(t, "arm64") }
