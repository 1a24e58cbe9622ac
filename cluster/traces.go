package cluster

import (
	"github.com/skerry-os/skerry/cluster/container"
	"github.com/skerry-os/skerry/cluster/network"
	"github.com/skerry-os/skerry/cluster/networkpolicy"
	"github.com/skerry-os/skerry/standalone"
)

// Traces are what a node leaves behind when it ends.
func Traces() standalone.Traces {
	return standalone.Traces{
		ControlGroups: []string{container.ShimCgroup, "/kubepods.slice", "/kubepods"},
		Interfaces:    network.Interfaces,
		Networks:      []string{network.Name},
		Tables:        append([]string{"kube-proxy", networkpolicy.Table}, network.Tables...),
	}
}
