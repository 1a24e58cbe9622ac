package pki

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestCertificatesAreRenewedBeforeTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		made, renewals := time.Now(), 0
		Renew(ctx, nil, func() error {
			renewals++
			if age := time.Since(made); age >= CertificateLife || age < CertificateLife/2 {
				t.Errorf("renewal %d of certificates that are %v old", renewals, age)
			}
			if renewals == 2 {
				return errors.New("the server is away")
			}
			if made = time.Now(); renewals == 4 {
				cancel()
			}
			return nil
		})
		if renewals != 4 {
			t.Errorf("%d renewals", renewals)
		}
	})
}

func TestCertificatesAreRenewedWhenSomebodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		asked, began, renewals := make(chan struct{}, 1), time.Now(), 0
		asked <- struct{}{}
		Renew(ctx, asked, func() error {
			if renewals++; renewals == 1 && time.Since(began) != 0 {
				t.Errorf("renewed after %v", time.Since(began))
			}
			if renewals == 2 {
				if age := time.Since(began); age != CertificateLife*2/3 {
					t.Errorf("renewed again after %v", age)
				}
				cancel()
			}
			return nil
		})
	})
}
