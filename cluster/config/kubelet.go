package config

import (
	"encoding/json"
	"errors"
	"fmt"

	kubelet "k8s.io/kubelet/config/v1beta1"
	strictjson "sigs.k8s.io/json"
)

// Of which kind the kubelet's settings are.
const (
	KubeletAPIVersion = "kubelet.config.k8s.io/v1beta1"
	KubeletKind       = "KubeletConfiguration"
)

// checkKubelet returns what is wrong with fields of a KubeletConfiguration. The
// kubelet itself goes on without a field that it does not know.
func checkKubelet(fields map[string]any) error {
	for key, want := range map[string]string{"apiVersion": KubeletAPIVersion, "kind": KubeletKind} {
		if value, there := fields[key]; there && value != want {
			return fmt.Errorf("%s: %s belongs here, or nothing", key, want)
		}
	}
	for _, key := range []string{"healthzPort", "healthzBindAddress"} {
		if _, there := fields[key]; there {
			return fmt.Errorf("%s: it is 127.0.0.1:10248 on every node, where the node's own programs ask", key)
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	unknown, err := strictjson.UnmarshalStrict(text, new(kubelet.KubeletConfiguration))
	return errors.Join(append(unknown, err)...)
}
