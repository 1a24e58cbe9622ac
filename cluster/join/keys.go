package join

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// The secret that binds a node's name to its key is named after the node.
const (
	keyNamespace = metav1.NamespaceSystem
	keyPrefix    = "node-key-"
	keyField     = "sha256"
	keyType      = "skerry.dev/node-key"
)

// SecretKeys keeps the keys of nodes in Secrets of the cluster.
type SecretKeys struct {
	Client kubernetes.Interface
}

// Bound returns the digest of the key that the name is bound to, or "".
func (k SecretKeys) Bound(ctx context.Context, name string) (string, error) {
	secret, err := k.Client.CoreV1().Secrets(keyNamespace).Get(ctx, keyPrefix+name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	digest := string(secret.Data[keyField])
	if digest == "" {
		return "", fmt.Errorf("secret %s/%s has no %s: delete it to let the node join anew", keyNamespace, secret.Name, keyField)
	}
	return digest, nil
}

// Bind binds a name to a key, unless it is bound to another.
func (k SecretKeys) Bind(ctx context.Context, name, key string) (string, error) {
	immutable := true
	_, err := k.Client.CoreV1().Secrets(keyNamespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: keyPrefix + name},
		Type:       keyType,
		Immutable:  &immutable,
		Data:       map[string][]byte{keyField: []byte(key)},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return k.Bound(ctx, name)
	}
	return key, err
}

// Forget frees a node's name.
func (k SecretKeys) Forget(ctx context.Context, name string) error {
	err := k.Client.CoreV1().Secrets(keyNamespace).Delete(ctx, keyPrefix+name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
