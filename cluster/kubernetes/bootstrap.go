package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	rbac "k8s.io/kubernetes/pkg/registry/rbac/rest"
	scheduling "k8s.io/kubernetes/pkg/registry/scheduling/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"
)

// bootstrapLimit is the time that the API server's own objects may take, once
// the datastore is filled, to the end of the API server, which is of no use
// without them. Upstream gives up after half a minute, which slow machines need
// for the roles alone.
const bootstrapLimit = 5 * time.Minute

// bootstrapPauses are those from one try to the next.
var bootstrapPauses = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 6, Cap: 5 * time.Second}

// bootstrapHooks make what an API server cannot be without, and is not ready
// before. They take the place of upstream's hooks with the same names, which let
// a second pass before they look, and then ask for some 200 roles and bindings
// one by one.
var bootstrapHooks = map[string]func(context.Context, kubernetes.Interface) error{
	rbac.PostStartHookName:       ensurePolicy,
	scheduling.PostStartHookName: ensurePriorityClasses,
}

// bootstrapHook has ensure tried until it succeeds, once filled is closed.
func bootstrapHook(name string, filled <-chan struct{}, ensure func(context.Context, kubernetes.Interface) error) genericapiserver.PostStartHookFunc {
	return func(hook genericapiserver.PostStartHookContext) error {
		client, err := kubernetes.NewForConfig(hook.LoopbackClientConfig)
		if err != nil {
			return err
		}
		select {
		case <-filled:
		case <-hook.Done():
			return nil
		}
		ctx, cancel := context.WithTimeout(hook, bootstrapLimit)
		defer cancel()
		var last error
		err = bootstrapPauses.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
			err := ensure(ctx, client)
			if err != nil && ctx.Err() == nil && (last == nil || last.Error() != err.Error()) {
				last = err
				slog.Warn("the API server's own objects are not all there yet", "hook", name, "error", err)
			}
			return err == nil, nil
		})
		if err != nil && hook.Err() == nil {
			return errors.Join(err, last)
		}
		return nil
	}
}

// ensurePriorityClasses makes the priority classes of the system that are
// missing.
func ensurePriorityClasses(ctx context.Context, client kubernetes.Interface) error {
	classes := client.SchedulingV1().PriorityClasses()
	for _, class := range schedulingv1.SystemPriorityClasses() {
		_, err := classes.Get(ctx, class.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = classes.Create(ctx, class, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("priority class %s: %w", class.Name, err)
		}
	}
	return nil
}

// bootstrapPolicy is what this version of Kubernetes wants in RBAC. What moves
// roles of Kubernetes 1.14 and before is left out: no cluster of ours is as old.
func bootstrapPolicy() rbac.PolicyData {
	p := rbac.PolicyData{
		ClusterRoles:        append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings: append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		Roles:               make(map[string][]rbacv1.Role),
		RoleBindings:        make(map[string][]rbacv1.RoleBinding),
	}
	// Those of namespaces are upstream's own, and not copies.
	for namespace, roles := range bootstrappolicy.NamespaceRoles() {
		for _, role := range roles {
			p.Roles[namespace] = append(p.Roles[namespace], *role.DeepCopy())
		}
	}
	for namespace, bindings := range bootstrappolicy.NamespaceRoleBindings() {
		for _, binding := range bindings {
			p.RoleBindings[namespace] = append(p.RoleBindings[namespace], *binding.DeepCopy())
		}
	}
	return p
}

// ensurePolicy makes the roles and bindings that are missing, and adds to the
// others what they lack, but for those that an administrator protected.
func ensurePolicy(ctx context.Context, client kubernetes.Interface) error {
	wanted := bootstrapPolicy()
	known, err := listPolicy(ctx, client, wanted)
	if err != nil {
		return err
	}
	// A role that fails leaves none of the others out.
	var failed []error
	protected := func(kind, name string) {
		slog.Warn("it lacks what this version of Kubernetes wants, and is protected by its annotation", kind, name, "annotation", rbacv1.AutoUpdateAnnotationKey)
	}
	ensureRole := func(role reconciliation.RuleOwner, there reconciliation.RuleOwnerModifier) {
		if ctx.Err() != nil {
			return
		}
		o := reconciliation.ReconcileRoleOptions{Role: role, Client: listedRoles{there, known.roles}, Confirm: true}
		if result, err := o.Run(); err != nil {
			failed = append(failed, fmt.Errorf("role %s: %w", role.GetName(), err))
		} else if result.Protected && result.Operation != reconciliation.ReconcileNone {
			protected("role", role.GetName())
		}
	}
	ensureBinding := func(binding reconciliation.RoleBinding, there reconciliation.RoleBindingModifier) {
		if ctx.Err() != nil {
			return
		}
		o := reconciliation.ReconcileRoleBindingOptions{RoleBinding: binding, Client: listedBindings{there, known.bindings}, Confirm: true}
		if result, err := o.Run(); err != nil {
			failed = append(failed, fmt.Errorf("binding %s: %w", binding.GetName(), err))
		} else if result.Protected && result.Operation != reconciliation.ReconcileNone {
			protected("binding", binding.GetName())
		}
	}
	api, namespaces := client.RbacV1(), client.CoreV1().Namespaces()
	for role := range each(wanted.ClusterRoles, clusterRole) {
		ensureRole(role, reconciliation.ClusterRoleModifier{Client: api.ClusterRoles()})
	}
	for binding := range each(wanted.ClusterRoleBindings, clusterRoleBinding) {
		ensureBinding(binding, reconciliation.ClusterRoleBindingClientAdapter{Client: api.ClusterRoleBindings()})
	}
	for _, roles := range wanted.Roles {
		for role := range each(roles, namespaceRole) {
			ensureRole(role, reconciliation.RoleModifier{Client: api, NamespaceClient: namespaces})
		}
	}
	for _, bindings := range wanted.RoleBindings {
		for binding := range each(bindings, namespaceRoleBinding) {
			ensureBinding(binding, reconciliation.RoleBindingClientAdapter{Client: api, NamespaceClient: namespaces})
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(failed) > 1:
		return fmt.Errorf("%w, and %d more", failed[0], len(failed)-1)
	}
	return errors.Join(failed...)
}

// The four kinds of RBAC as the library for reconciliation wants them.
func clusterRole(o *rbacv1.ClusterRole) reconciliation.RuleOwner {
	return reconciliation.ClusterRoleRuleOwner{ClusterRole: o}
}

func namespaceRole(o *rbacv1.Role) reconciliation.RuleOwner {
	return reconciliation.RoleRuleOwner{Role: o}
}

func clusterRoleBinding(o *rbacv1.ClusterRoleBinding) reconciliation.RoleBinding {
	return reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: o}
}

func namespaceRoleBinding(o *rbacv1.RoleBinding) reconciliation.RoleBinding {
	return reconciliation.RoleBindingAdapter{RoleBinding: o}
}

func each[O, T any](items []O, as func(*O) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := range items {
			if !yield(as(&items[i])) {
				return
			}
		}
	}
}

// policy is what the API server has in RBAC.
type policy struct {
	roles    listed[reconciliation.RuleOwner]
	bindings listed[reconciliation.RoleBinding]
}

// listPolicy asks for all there is where wanted has something: in the cluster,
// and in some namespaces.
func listPolicy(ctx context.Context, client kubernetes.Interface, wanted rbac.PolicyData) (*policy, error) {
	p := &policy{make(listed[reconciliation.RuleOwner]), make(listed[reconciliation.RoleBinding])}
	api := client.RbacV1()
	clusterRoles, err := api.ClusterRoles().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("clusterroles: %w", err)
	}
	p.roles.add(each(clusterRoles.Items, clusterRole))
	clusterRoleBindings, err := api.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("clusterrolebindings: %w", err)
	}
	p.bindings.add(each(clusterRoleBindings.Items, clusterRoleBinding))
	for namespace := range wanted.Roles {
		roles, err := api.Roles(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("roles in %s: %w", namespace, err)
		}
		p.roles.add(each(roles.Items, namespaceRole))
	}
	for namespace := range wanted.RoleBindings {
		roleBindings, err := api.RoleBindings(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("rolebindings in %s: %w", namespace, err)
		}
		p.bindings.add(each(roleBindings.Items, namespaceRoleBinding))
	}
	return p, nil
}

// listed are objects by their names; those of the cluster have no namespace.
type listed[T interface {
	GetNamespace() string
	GetName() string
}] map[types.NamespacedName]T

func (l listed[T]) add(objects iter.Seq[T]) {
	for o := range objects {
		l[types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}] = o
	}
}

// get returns an object, and asks for one that is not listed.
func (l listed[T]) get(namespace, name string, ask func(namespace, name string) (T, error)) (T, error) {
	if o, ok := l[types.NamespacedName{Namespace: namespace, Name: name}]; ok {
		return o, nil
	}
	return ask(namespace, name)
}

type listedRoles struct {
	reconciliation.RuleOwnerModifier
	listed listed[reconciliation.RuleOwner]
}

func (l listedRoles) Get(namespace, name string) (reconciliation.RuleOwner, error) {
	return l.listed.get(namespace, name, l.RuleOwnerModifier.Get)
}

type listedBindings struct {
	reconciliation.RoleBindingModifier
	listed listed[reconciliation.RoleBinding]
}

func (l listedBindings) Get(namespace, name string) (reconciliation.RoleBinding, error) {
	return l.listed.get(namespace, name, l.RoleBindingModifier.Get)
}
