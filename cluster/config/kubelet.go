package config

import (
	"encoding/json"
	"errors"

	kubelet "k8s.io/kubelet/config/v1beta1"
	strictjson "sigs.k8s.io/json"
)

// checkKubelet returns what is wrong with fields of a KubeletConfiguration. The
// kubelet itself goes on without a field that it does not know.
func checkKubelet(fields map[string]any) error {
	for _, key := range []string{"apiVersion", "kind"} {
		if _, there := fields[key]; there {
			return errors.New(key + ": the node says that itself")
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	unknown, err := strictjson.UnmarshalStrict(text, new(kubelet.KubeletConfiguration))
	return errors.Join(append(unknown, err)...)
}
