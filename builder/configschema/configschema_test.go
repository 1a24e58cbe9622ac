package configschema_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/builder/configschema"
	"github.com/skerry-os/skerry/nodeconfig"
	"github.com/skerry-os/skerry/strictyaml"
)

var update = flag.Bool("update", false, "write the schemas that are generated")

func TestTheSchemasAreCurrent(t *testing.T) {
	files, err := configschema.Generate("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not current, run `go generate ./builder/configschema`:\n%s", name, diff)
		}
	}
}

var schemas = map[string]func() string{
	"node config": configschema.NodeConfig, "board": configschema.Board, "overlay": configschema.Overlay, "modules": configschema.Modules, "image": configschema.Image,
}

func TestEveryKeyIsDescribedAndNoOtherKeyIsAllowed(t *testing.T) {
	for name, text := range schemas {
		root := readSchema(t, text())
		root.each(name, func(path string, s *schema) {
			if s.Properties != nil && string(s.Additional) != "false" {
				t.Errorf("%s: other keys are allowed", path)
			}
			for key, p := range s.Properties {
				if p.Description == "" {
					t.Errorf("%s.%s has no description: comment the field", path, key)
				}
			}
			if s.Pattern != "" {
				if _, err := regexp.Compile(s.Pattern); err != nil || s.Pattern[0] != '^' {
					t.Errorf("%s: pattern %s: %v", path, s.Pattern, err)
				}
			}
			if ref := strings.TrimPrefix(s.Ref, "#/$defs/"); s.Ref != "" && root.Defs[ref] == nil {
				t.Errorf("%s: %s is not defined", path, s.Ref)
			}
		})
	}
}

// document reads YAML as an editor does, without knowing the types.
func document(t *testing.T, text []byte) any {
	t.Helper()
	var holder struct {
		Document any `yaml:"document"`
	}
	indented := "document:\n"
	for line := range strings.Lines(string(text)) {
		indented += "  " + line
	}
	if _, err := strictyaml.Decode("x", []byte(indented), &holder); err != nil {
		t.Fatalf("%v\n%s", err, indented)
	}
	return holder.Document
}

func TestWhatTheReadersAcceptIsValid(t *testing.T) {
	for pattern, text := range map[string]func() string{
		"../../nodeconfig/testdata/valid/*.yaml": configschema.NodeConfig,
		"../../boards/*/board.yaml":              configschema.Board,
		"../../overlays/*/overlay.yaml":          configschema.Overlay,
		"../../boards/modules/*.yaml":            configschema.Modules,
	} {
		root := readSchema(t, text())
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			value := document(t, data)
			if value == nil {
				continue // nothing but comments
			}
			if err := root.validate(root, name, value); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSchemaAndReaderAgree(t *testing.T) {
	root := readSchema(t, configschema.NodeConfig())
	const head = "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"
	const key = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	for text, want := range map[string]bool{
		"hostname: a\n":    true,
		"hostname: A\n":    false,
		"hostname: 7\n":    false,
		"hostname: \"\"\n": false,
		"hostname: " + strings.Repeat("a", 64) + "\n": false,
		"hostnam: a\n":                                                                                      false,
		"network: {ntp: [192.0.2.1]}\n":                                                                     true,
		"network: {ntp: 192.0.2.1}\n":                                                                       false,
		"network: {ntp: [\"\"]}\n":                                                                          false,
		"network: {nameservers: [\"fe80::1%eth0\"]}\n":                                                      true,
		"network: {nameservers: [dns.example.com]}\n":                                                       false,
		"network: {interfaces: [{match: {name: eth0}, dhcp: true}]}\n":                                      true,
		"network: {interfaces: [{match: {name: eth0}, dhcp: \"yes\"}]}\n":                                   false,
		"network: {interfaces: [{dhcp: true}]}\n":                                                           false,
		"network: {interfaces: [{match: {mac: \"02:00:00:00:00:01\"}}]}\n":                                  true,
		"network: {interfaces: [{match: {mac: \"02-00-00-00-00-01\"}}]}\n":                                  false,
		"network: {interfaces: [{match: {name: interface-with-16}}]}\n":                                     false,
		"network: {interfaces: [{match: {name: e}, addresses: [192.0.2.17/24]}]}\n":                         true,
		"network: {interfaces: [{match: {name: e}, addresses: [192.0.2.17]}]}\n":                            false,
		"network: {interfaces: [{match: {name: e}, mtu: 1280}]}\n":                                          true,
		"network: {interfaces: [{match: {name: e}, mtu: 1279}]}\n":                                          false,
		"network: {interfaces: [{match: {name: e}, mtu: \"1280\"}]}\n":                                      false,
		"network: {interfaces: [{match: {name: e}, vlans: [{id: 4094}]}]}\n":                                true,
		"network: {interfaces: [{match: {name: e}, vlans: [{id: 4095}]}]}\n":                                false,
		"network: {interfaces: [{match: {name: e}, vlans: [{dhcp: true}]}]}\n":                              false,
		"cluster: {role: server}\n":                                                                         true,
		"cluster: {role: master}\n":                                                                         false,
		"cluster: {}\n":                                                                                     false,
		"cluster: {role: server, datastore: etcd}\n":                                                        true,
		"cluster: {role: server, datastore: \"mysql://db\"}\n":                                              false,
		"cluster: {role: server, datastore: dqlite}\n":                                                      false,
		"cluster: {role: server, labels: {a: b}}\n":                                                         true,
		"cluster: {role: server, labels: {a: 1}}\n":                                                         false,
		"cluster: {role: server, taints: [\"a:NoExecute\"]}\n":                                              true,
		"cluster: {role: server, taints: [a]}\n":                                                            false,
		"cluster: {role: server, kubelet: {a: {b: [1, true]}}}\n":                                           true,
		"cluster: {role: server, registries: {mirrors: {a: {endpoints: [\"https://b\"]}}}}\n":               true,
		"cluster: {role: server, registries: {mirrors: {a: {endpoints: []}}}}\n":                            false,
		"cluster: {role: server, registries: {mirrors: {a: {endpoint: [\"https://b\"]}}}}\n":                false,
		"cluster: {role: agent, join: \"https://a\", tokenFile: /etc/token}\n":                              true,
		"cluster: {role: agent, join: \"http://a\", tokenFile: /etc/token}\n":                               false,
		"cluster: {role: agent, join: \"https://a\", token: K10" + strings.Repeat("0", 64) + "::agent:x}\n": true,
		"cluster: {role: agent, join: \"https://a\", token: K10::agent:x}\n":                                false,
		"updates: {source: \"https://a/b\"}\n":                                                              true,
		"updates: {source: \"http://a/b\"}\n":                                                               false,
		"updates: {channel: stable}\n":                                                                      false,
		"updates: {source: \"https://a\", maxBytes: 200MiB}\n":                                              true,
		"updates: {source: \"https://a\", maxBytes: 200MB}\n":                                               false,
		"updates: {source: \"https://a\", maxBytes: 200}\n":                                                 false,
		"updates: {source: \"https://a\", health: {deadline: 1h30m}}\n":                                     true,
		"updates: {source: \"https://a\", health: {deadline: 1.5h}}\n":                                      false,
		"updates: {source: \"https://a\", health: {deadline: \"\"}}\n":                                      false,
		"updates: {source: \"https://a\", window: {from: 23:00, to: 01:00, days: [sat]}}\n":                 true,
		"updates: {source: \"https://a\", window: {from: 24:00, to: 01:00}}\n":                              false,
		"updates: {source: \"https://a\", window: {from: 23:00}}\n":                                         false,
		"updates: {source: \"https://a\", window: {from: 23:00, to: 01:00, days: [saturday]}}\n":            false,
		"access: {keys: [\"" + key + "= me\"]}\n":                                                           true,
		"access: {keys: [\"" + key + "\"]}\n":                                                               true,
		"access: {keys: [\"ssh-" + key + "\"]}\n":                                                           false,
		"access: {keys: [\"" + key + "AAAA\"]}\n":                                                           false,
		"storage: {data: {device: /dev/sda, wipe: true}}\n":                                                 true,
		"storage: {data: {device: sda}}\n":                                                                  false,
		"storage: {data: {device: auto, wipe: 1}}\n":                                                        false,
		"kernel: {modules: [dm_crypt], sysctls: {a.b: \"1\"}}\n":                                            true,
		"kernel: {modules: [dm_crypt.ko]}\n":                                                                false,
		"kernel: {sysctls: {a.b: 1}}\n":                                                                     false,
		"files: [{path: /etc/a, content: \"\", mode: \"0600\"}]\n":                                          true,
		"files: [{path: /etc/a, content: \"\", mode: \"600\"}]\n":                                           false,
		"files: [{path: /usr/a, content: \"\"}]\n":                                                          false,
		"files: [{path: /etc/a}]\n":                                                                         false,
	} {
		text = head + text
		_, readerErr := nodeconfig.Parse("f", []byte(text))
		schemaErr := root.validate(root, "f", document(t, []byte(text)))
		if (readerErr == nil) != want || (schemaErr == nil) != want {
			t.Errorf("%s: want %t\nreader: %v\nschema: %v", text, want, readerErr, schemaErr)
		}
	}
	for _, text := range []string{"kind: NodeConfig\n", "apiVersion: skerry.dev/v1\nkind: NodeConfig\n"} {
		_, readerErr := nodeconfig.Parse("f", []byte(text))
		if schemaErr := root.validate(root, "f", document(t, []byte(text))); readerErr == nil || schemaErr == nil {
			t.Errorf("%s: reader: %v, schema: %v", text, readerErr, schemaErr)
		}
	}
}

func TestTheRequiredKeysAreThoseOfTheReader(t *testing.T) {
	root := readSchema(t, configschema.NodeConfig())
	for name, want := range map[string][]string{
		"Interface": {"match"}, "VLAN": {"id"}, "Cluster": {"role"}, "Window": {"from", "to"}, "File": {"path", "content"}, "Match": nil,
	} {
		if diff := cmp.Diff(want, root.Defs[name].Required); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if !slices.Equal(root.Required, []string{"apiVersion", "kind"}) {
		t.Errorf("config: %v", root.Required)
	}
}
