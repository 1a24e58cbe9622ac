package networkpolicy

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// probe asks the kernel for the kinds of rules that policies need, in one
// transaction that leaves nothing behind. kube-network-policies itself goes on
// without its rules when the kernel refuses them: policies would be accepted
// and would not hold.
func probe() error {
	connection, err := nftables.New()
	if err != nil {
		return fmt.Errorf("speak with nf_tables: %w", err)
	}
	table := connection.AddTable(&nftables.Table{Name: Table + "-probe", Family: nftables.TableFamilyINet})
	chain := connection.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityNATSource - 5),
	})
	mask := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED)
	connection.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		// No packet gets here: the table is gone when the transaction ends.
		&expr.Queue{Num: queueNumber},
	}})
	connection.DelTable(table)
	if err := connection.Flush(); err != nil {
		return fmt.Errorf("the kernel refuses rules that policies need: %w", err)
	}
	return nil
}
