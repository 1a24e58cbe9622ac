package network

// Name is the network's, as CNI names it.
const Name = "skerry"

// bridge connects the Pods of a node.
const bridge = "cni0"

// Interfaces are those that a node makes. They stay when it ends, for Pods go on.
var Interfaces = []string{bridge, "flannel.1", "flannel-wg"}

// Tables are those of nftables that flannel and the CNI plugin portmap make.
var Tables = []string{"flannel-ipv4", "flannel-ipv6", "cni_hostport"}
