package nodeconfig

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/jointoken"
	"github.com/skerry-os/skerry/strictyaml"
)

func (d checks) cluster(c *Cluster) {
	const root = strictyaml.Path("cluster")
	server, agent := c.Role == RoleServer, c.Role == RoleAgent
	join, token, tokenFile := d.Has(root.Key("join")), d.Has(root.Key("token")), d.Has(root.Key("tokenFile"))

	if join && !isServerURL(c.Join) {
		d.Errorf(root.Key("join"), "https://, the address of a server and its port belong here, as in https://192.0.2.10:6443")
	}
	switch {
	case agent && !join:
		d.Errorf(root.Key("join"), "an agent needs the address of a server to join, as in join: https://192.0.2.10:6443")
	case join && !token && !tokenFile:
		d.Errorf(root.Key("token"), "joining needs a token or a tokenFile: `skerry token create` on a server makes one")
	case server && !join && (token || tokenFile):
		d.Errorf(root.Key("token"), "the first server makes the cluster and its tokens itself: add join, or remove the token")
	case token && tokenFile:
		d.Errorf(root.Key("tokenFile"), "there is a token already: keep one of the two")
	}
	if token {
		d.token(c)
	}
	if tokenFile && (!path.IsAbs(c.TokenFile) || path.Clean(c.TokenFile) != c.TokenFile) {
		d.Errorf(root.Key("tokenFile"), "an absolute path belongs here, as in /etc/skerry/token")
	}
	switch {
	case d.Has(root.Key("datastore")) && agent:
		d.Errorf(root.Key("datastore"), "an agent keeps no cluster state: remove the key, or make the role server")
	case d.Has(root.Key("datastore")) && c.Datastore != DatastoreSQLite && c.Datastore != DatastoreEtcd:
		d.Errorf(root.Key("datastore"), "sqlite or etcd belongs here")
	case server && join && c.Datastore == DatastoreSQLite:
		d.Errorf(root.Key("datastore"), "sqlite is for a single server: a server that joins another needs etcd, as that one has")
	}
	switch {
	case d.Has(root.Key("restoreDamaged")) && agent:
		d.Errorf(root.Key("restoreDamaged"), "an agent keeps no cluster state: remove the key, or make the role server")
	case c.RestoreDamaged && (c.Datastore == DatastoreEtcd || join):
		d.Errorf(root.Key("restoreDamaged"), "it is for a single server with sqlite: of several servers the others have the state")
	}
	if d.Has(root.Key("manifests")) && agent {
		d.Errorf(root.Key("manifests"), "an agent applies no manifests: give them to a server")
	}
	for i, manifest := range c.Manifests {
		d.manifest(manifest, root.Key("manifests").Index(i))
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		if err := CheckLabel(key, c.Labels[key]); err != nil {
			d.Errorf(root.Key("labels").Key(key), "%v", err)
		}
	}
	for i, taint := range c.Taints {
		if err := CheckTaint(taint); err != nil {
			d.Errorf(root.Key("taints").Index(i), "%v", err)
		}
	}
	d.registries(&c.Registries, root.Key("registries"))
}

func isServerURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || !isServerName(u.Hostname()) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return (u.Port() == "" || err == nil && port > 0) && (u.Path == "" || u.Path == "/")
}

// token checks K10<SHA-256 of the CA>::<role>:<secret> without ever repeating it.
func (d checks) token(c *Cluster) {
	const p = strictyaml.Path("cluster.token")
	token, err := jointoken.Parse(c.Token)
	switch {
	case err != nil:
		d.Errorf(p, "%v", err)
	case strings.TrimSpace(c.Token) != c.Token:
		d.Errorf(p, "there is a space before or behind the token")
	case c.Role == RoleServer && token.Role == jointoken.Agent:
		d.Errorf(p, "the token is for agents, and this node is to be a server")
	}
}

func (d checks) manifest(m map[string]any, p strictyaml.Path) {
	if !d.Has(p) || m == nil {
		return
	}
	for _, key := range []string{"apiVersion", "kind"} {
		if text, ok := m[key].(string); !ok || text == "" {
			d.Errorf(p.Key(key), "a Kubernetes object needs this key, with text")
		}
	}
	metadata, _ := m["metadata"].(map[string]any)
	if name, ok := metadata["name"].(string); !ok || name == "" {
		d.Errorf(p.Key("metadata").Key("name"), "a Kubernetes object needs a name")
	}
}

// A name as in k8s.io/apimachinery/pkg/util/validation, IsQualifiedName.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$`)

func isName(s string) bool { return len(s) <= 63 && namePattern.MatchString(s) }

func isQualifiedName(s string) bool {
	prefix, name, ok := strings.Cut(s, "/")
	if !ok {
		return isName(s)
	}
	return isName(name) && isDomain(prefix) && prefix == strings.ToLower(prefix) && !strings.HasSuffix(prefix, ".")
}

// CheckLabel returns what is wrong with a label that a node gives itself, or nil.
func CheckLabel(key, value string) error {
	switch {
	case !isQualifiedName(key):
		return errors.New("a label is a name of up to 63 letters, digits, -, _ and ., after a domain and a slash if any")
	case value != "" && !isName(value):
		return fmt.Errorf("found %q: the value of a label has up to 63 letters, digits, -, _ and ., and begins and ends with a letter or a digit", short(value))
	case !mayLabelItself(key):
		return errors.New("a node may not give itself this label: under kubernetes.io and k8s.io only node.kubernetes.io, kubelet.kubernetes.io and topology.kubernetes.io/zone and /region are its own")
	}
	return nil
}

// mayLabelItself reports whether kubelet starts with this label
// (k8s.io/kubernetes cmd/kubelet/app/options, ValidateKubeletFlags) and
// NodeRestriction lets it through.
func mayLabelItself(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	if !ok || !within(domain, "kubernetes.io") && !within(domain, "k8s.io") {
		return true
	}
	switch key {
	case "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
		"kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch":
		return true
	}
	return within(domain, "node.kubernetes.io") || within(domain, "kubelet.kubernetes.io")
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}

// CheckTaint returns what is wrong with a taint, or nil.
func CheckTaint(taint string) error {
	name, effect, ok := strings.Cut(taint, ":")
	key, value, _ := strings.Cut(name, "=")
	known := slices.Contains([]string{"NoSchedule", "PreferNoSchedule", "NoExecute"}, effect)
	if !ok || !known || !isQualifiedName(key) || value != "" && !isName(value) {
		return fmt.Errorf("found %q: key=value:effect or key:effect belongs here, the effect being NoSchedule, PreferNoSchedule or NoExecute", short(taint))
	}
	return nil
}

func (d checks) registries(r *Registries, p strictyaml.Path) {
	for _, host := range slices.Sorted(maps.Keys(r.Mirrors)) {
		mirror := r.Mirrors[host]
		at := p.Key("mirrors").Key(host)
		if host != "*" && !isHostPort(host) {
			d.Errorf(at, `the key is the name of a registry, as in docker.io or registry.example.com:5000, or "*" for all`)
		}
		if d.Has(at.Key("endpoints")) && len(mirror.Endpoints) == 0 {
			d.Errorf(at.Key("endpoints"), "the list is empty: add a URL, or remove the mirror")
		}
		for i, endpoint := range mirror.Endpoints {
			if u, err := url.Parse(endpoint); err != nil || !isWebURL(endpoint) || u.User != nil {
				d.Errorf(at.Key("endpoints").Index(i), "an http:// or https:// URL without a password belongs here; passwords go to credentials")
			}
		}
	}
	for _, host := range slices.Sorted(maps.Keys(r.Credentials)) {
		login := r.Credentials[host]
		at := p.Key("credentials").Key(host)
		if !isHostPort(host) {
			d.Errorf(at, "the key is the name of a registry, as in registry.example.com:5000")
		}
		if d.Has(at.Key("username")) && login.Username == "" {
			d.Errorf(at.Key("username"), "the name of the account is empty")
		}
		if d.Has(at.Key("password")) && login.Password == "" {
			d.Errorf(at.Key("password"), "the password is empty")
		}
	}
}

func isHostPort(s string) bool {
	u, err := url.Parse("https://" + s)
	return err == nil && u.Host == s && isServerURL("https://"+s)
}
