package cluster

import (
	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/hostcheck"
)

// Needs say what the settings ask of the host.
func Needs(c *config.Config) hostcheck.Needs {
	return hostcheck.Needs{
		Server: c.Role == config.Server, Etcd: c.Several(), Node: !c.DisableAgent,
		NodeName: c.NodeName, DataDir: c.DataDir, Backend: c.FlannelBackend, Policies: !c.Disabled("network-policy"),
	}
}
