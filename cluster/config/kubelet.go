package config

import (
	kubelet "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"
)

// checkKubelet returns what is wrong with fields of a KubeletConfiguration. The
// kubelet itself goes on without a field that it does not know.
func checkKubelet(fields map[string]any) error {
	text, err := yaml.Marshal(fields)
	if err != nil {
		return err
	}
	return yaml.UnmarshalStrict(text, new(kubelet.KubeletConfiguration))
}
