package control

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/skerry-os/skerry/cluster/atomicfile"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/jointoken"
)

// followTokens has the cluster know this server's first tokens, and the server
// know the cluster's. It returns when it does, and goes on until ctx ends.
func (c *Control) followTokens(ctx context.Context, client kubernetes.Interface) error {
	tokens := join.Tokens{Client: client, CA: c.authorities.server.Digest()}
	err := wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		err := c.keepFirstTokens(ctx, tokens)
		if err != nil && ctx.Err() == nil {
			slog.Warn("tokens for joining", "error", err)
		}
		return err == nil, nil
	})
	if err != nil {
		return nil // ctx ended
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(join.TokenNamespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "type=" + join.TokenType }))
	secrets := factory.Core().V1().Secrets()
	write := func(object any) {
		if secret, ok := object.(*corev1.Secret); ok {
			if err := c.writeFirstToken(secret); err != nil {
				slog.Error("a token could not be written to where `skerry token` finds it", "error", err)
			}
		}
	}
	if _, err := secrets.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: write, UpdateFunc: func(_, now any) { write(now) },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if cache.WaitFor(ctx, "", secrets.Informer().HasSyncedChecker()) {
		known := secrets.Lister().Secrets(join.TokenNamespace)
		c.known.Store(&known)
	}
	return nil
}

// keepFirstTokens has the cluster know the tokens in this server's files.
func (c *Control) keepFirstTokens(ctx context.Context, tokens join.Tokens) error {
	for _, role := range []string{jointoken.Server, jointoken.Agent} {
		contents, err := os.ReadFile(c.JoinTokenFile(role))
		if err != nil {
			return err
		}
		first, err := jointoken.Parse(string(contents))
		if err != nil {
			return fmt.Errorf("%s: %w", c.JoinTokenFile(role), err)
		}
		if err := tokens.Keep(ctx, first); err != nil {
			return err
		}
	}
	return nil
}

// writeFirstToken has `skerry token` print what the cluster takes.
func (c *Control) writeFirstToken(secret *corev1.Secret) error {
	known, err := join.ReadToken(secret)
	if err != nil {
		return err
	}
	if !known.First() {
		return nil
	}
	if _, err := jointoken.Parse(known.Text); err != nil {
		return fmt.Errorf("secret %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return atomicfile.Write(c.JoinTokenFile(known.Role), []byte(known.Text+"\n"), 0o600)
}

// tokens are those that the cluster knows. A damaged one is none.
func (c *Control) tokens() ([]join.Token, error) {
	known := c.known.Load()
	if known == nil {
		return nil, fmt.Errorf("the tokens are not read yet")
	}
	secrets, err := (*known).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var all []join.Token
	for _, secret := range secrets {
		t, err := join.ReadToken(secret)
		if err != nil {
			slog.Warn("a token for joining", "error", err)
			continue
		}
		all = append(all, t)
	}
	return all, nil
}
