package flash

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/strictyaml"
)

// NodeConfig is what the node config on a disk is made of.
type NodeConfig struct {
	File     string // a node config; may be empty
	Hostname string // these replace what the file says, if they are not empty
	Join     string
	Token    string
}

// ReadToken reads a join token from a file, so that it need not stand on a
// command line, where every user of the machine can read it.
func ReadToken(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	const most = 4096
	if info.Size() > most {
		return "", fmt.Errorf("read token: %s has %d bytes: a token has a few dozen", name, info.Size())
	}
	contents, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(contents))
	if token == "" {
		return "", fmt.Errorf("read token: %s is empty: `skerry token create` on a server makes one", name)
	}
	return token, nil
}

// Edit returns a function that makes the node config out of the one that the
// image has, nil if nothing is asked for. What can be checked without the image
// is checked now.
func (c NodeConfig) Edit() (func(old []byte) ([]byte, error), error) {
	if c == (NodeConfig{}) {
		return nil, nil
	}
	if c.File == "" {
		if _, err := c.merge("the new node config", nil); err != nil {
			return nil, err
		}
		return func(old []byte) ([]byte, error) { return c.merge("the image's "+nodeconfig.FileName, old) }, nil
	}
	file, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	contents, err := strictyaml.Read(c.File, file)
	if err != nil {
		return nil, err
	}
	if contents, err = c.merge(c.File, contents); err != nil {
		return nil, err
	}
	return func([]byte) ([]byte, error) { return contents, nil }, nil
}

// merge puts what was asked for into a node config and checks the result. A
// config that stays as it is keeps its bytes.
func (c NodeConfig) merge(name string, contents []byte) ([]byte, error) {
	if c.Hostname == "" && c.Join == "" && c.Token == "" {
		_, err := nodeconfig.Parse(name, contents)
		return contents, err
	}
	// What is there has to be read strictly before it is read loosely; without
	// a token, say, it may become right only now.
	var doc yaml.Node
	if err := yaml.Unmarshal(bytes.TrimPrefix(contents, []byte("\ufeff")), &doc); err != nil {
		_, strict := nodeconfig.Parse(name, contents)
		if strict == nil {
			strict = fmt.Errorf("%s: %w", name, err)
		}
		return nil, strict
	}
	if doc.Kind == 0 || len(doc.Content) == 1 && doc.Content[0].Kind == yaml.ScalarNode && doc.Content[0].Tag == "!!null" {
		top := &yaml.Node{Kind: yaml.MappingNode}
		set(top, "apiVersion", nodeconfig.APIVersion)
		set(top, "kind", nodeconfig.Kind)
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{top}}
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		_, err := nodeconfig.Parse(name, contents)
		return nil, err
	}
	if c.Hostname != "" {
		set(top, "hostname", c.Hostname)
	}
	if c.Join != "" || c.Token != "" {
		cluster := value(top, "cluster")
		if cluster == nil || cluster.Kind != yaml.MappingNode {
			remove(top, "cluster")
			cluster = &yaml.Node{Kind: yaml.MappingNode}
			top.Content = append(top.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "cluster"}, cluster)
		}
		if value(cluster, "role") == nil {
			// A token says what it lets in: K10<hash>::<role>:<secret>.
			role := string(nodeconfig.RoleAgent)
			if strings.Contains(c.Token, "::"+string(nodeconfig.RoleServer)+":") {
				role = string(nodeconfig.RoleServer)
			}
			set(cluster, "role", role)
		}
		if c.Join != "" {
			set(cluster, "join", c.Join)
		}
		if c.Token != "" {
			set(cluster, "token", c.Token)
			remove(cluster, "tokenFile")
		}
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("merge into %s: %w", name, err)
	}
	if _, err := nodeconfig.Parse(name+" with what the flags say", out.Bytes()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// index returns where the key of a mapping is, -1 if it is not there.
func index(m *yaml.Node, key string) int {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return i
		}
	}
	return -1
}

func value(m *yaml.Node, key string) *yaml.Node {
	if i := index(m, key); i >= 0 {
		return m.Content[i+1]
	}
	return nil
}

func set(m *yaml.Node, key, text string) {
	v := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if i := index(m, key); i >= 0 {
		m.Content[i+1] = v
		return
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, v)
}

func remove(m *yaml.Node, key string) {
	if i := index(m, key); i >= 0 {
		m.Content = append(m.Content[:i], m.Content[i+2:]...)
	}
}
