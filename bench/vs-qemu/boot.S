/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first instructions of a guest that QEMU started with -kernel (PVH): protected mode without
 * paging, ebx holds the start info. From here to what the guest program expects: see boot.c.
 */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18		/* sizes of name and value; 18: the 32-bit entry */
	.asciz "Xen"
	.quad start

	.text
	.code32
	.globl start
start:
	cli
	cld
	movl $pml4, %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x20, %eax		/* PAE */
	movl %eax, %cr4
	movl $0xc0000080, %ecx	/* EFER: long mode */
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80000001, %eax	/* paging */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $long_mode

	.code64
long_mode:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl $stack_end, %esp
	xorl %ebp, %ebp
	movl %ebx, %edi
	call boot_main
	movl $stack_end, %esp
	xorl %edi, %edi		/* vCPU 0 */
	jmp guest_program

	/* The guest program, which knows its address. */
	.section .guest, "awx"
guest_program:
	.incbin GUEST_PROGRAM

	.data
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	/* An identity map of the first 4 GiB, by 2 MiB. */
	.balign 4096
pml4:
	.quad pdpt + 3
	.fill 511, 8, 0
pdpt:
	.quad directories + 3
	.quad directories + 0x1003
	.quad directories + 0x2003
	.quad directories + 0x3003
	.fill 508, 8, 0
directories:
	.set page, 0x83
	.rept 2048
	.quad page
	.set page, page + 0x200000
	.endr

	.bss
	.balign 16
	.skip 0x4000
stack_end:

	.section .note.GNU-stack, "", @progbits
