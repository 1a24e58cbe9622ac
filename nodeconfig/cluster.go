package nodeconfig

// Cluster is the node's part in a Kubernetes cluster.
type Cluster struct {
	// server: control plane and node; agent: node only.
	Role Role `yaml:"role" required:"true"`
	// Address of a server to join, as in https://192.0.2.10:6443. The first server has none, an agent must have one.
	Join string `yaml:"join" jsonschema:"pattern=^https://"`
	// What proves to the cluster that the node may join, and to the node that it is the right cluster: K10<SHA-256 of the CA>::<role>:<secret>.
	Token string `yaml:"token" secret:"true" jsonschema:"pattern=^K10[0-9a-f]{64}::(server|agent):[!-~]+$"`
	// A file with the token instead, as in /etc/skerry/token.
	TokenFile string `yaml:"tokenFile" jsonschema:"pattern=^/"`
	// Labels of the Node object.
	Labels map[string]string `yaml:"labels"`
	// Taints of the Node object, as in dedicated=camera:NoSchedule.
	Taints []string `yaml:"taints" jsonschema:"pattern=^[^:]+:(NoSchedule|PreferNoSchedule|NoExecute)$"`
	// Where a server keeps the cluster's state: sqlite, for a single server, or etcd. Default: sqlite, and etcd where it joins another.
	Datastore string `yaml:"datastore" jsonschema:"pattern=^(sqlite|etcd)$"`
	// Whether a server whose SQLite database is found damaged at a start goes on with the latest snapshot; what was there is kept aside.
	RestoreDamaged bool `yaml:"restoreDamaged"`
	// Where container images come from besides their own registries.
	Registries Registries `yaml:"registries"`
	// Kubernetes objects that a server applies at start and keeps applied.
	Manifests []map[string]any `yaml:"manifests" secret:"true"`
	// Fields of the kubelet's KubeletConfiguration, passed on.
	Kubelet map[string]any `yaml:"kubelet" secret:"true"`
}

// Datastores that a server brings along.
const (
	DatastoreSQLite = "sqlite" // for a single server
	DatastoreEtcd   = "etcd"
)

// Registries says where container images come from.
type Registries struct {
	// By registry, as in docker.io, where to ask instead of it.
	Mirrors map[string]Mirror `yaml:"mirrors"`
	// By registry, as in registry.example.com:5000, how to log in.
	Credentials map[string]Credentials `yaml:"credentials"`
}

// Mirror is where to ask instead of a registry.
type Mirror struct {
	// URLs asked in this order, before the registry itself.
	Endpoints []string `yaml:"endpoints" required:"true" jsonschema:"minItems=1,pattern=^https?://"`
}

// Credentials is how to log in to a registry.
type Credentials struct {
	// Name of the account.
	Username string `yaml:"username" required:"true"`
	// Its password or access token.
	Password string `yaml:"password" required:"true" secret:"true"`
}
