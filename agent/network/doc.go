// Package network configures the node's wired interfaces: addresses, routes, VLANs, MTU, name servers.
//
// It promises:
//   - Without configuration every wired interface gets its addresses by DHCPv4 and by IPv6 router advertisements
//     (SLAAC, DHCPv6 where the router asks for it), also one that is plugged in later.
//   - An interface whose config turns DHCP off has exactly the addresses the config names, and a link-local one.
//   - Only routes and addresses that this package added are ever removed. What the cluster's CNI adds stays.
//   - Nothing is given up: servers that do not answer are asked forever, with back-off, and State.Problems says so.
//   - A server on the network cannot crash it, make it spin, or write lines into resolv.conf.
//
// Everything is driven by events: netlink notifications, packets, lease timers. A node at rest has no packet
// socket open and no timer nearer than its leases.
//
// It leaves to others: parsing the node config and rejecting impossible combinations, the hostname, wireless
// interfaces, anything about containers, and name resolution itself. Addresses stay when a Network is closed, so
// that the last log lines of a shutdown still leave the node; leases are not released, so that a node comes back
// with the address it had.
package network
