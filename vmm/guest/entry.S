/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first instruction of every vCPU. The VMM has set long mode, flat segments, identity page
 * tables and a stack of the vCPU's own; rdi holds the vCPU's number.
 */
	.section .text.entry, "ax"
	.globl _start
_start:
	xorl %ebp, %ebp
	call guest_main
1:	cli
	hlt
	jmp 1b

/*
 * One stub of 16 bytes for each vector, so that the IDT can be filled by arithmetic. Vectors with
 * an error code from the processor have it below the number; the others get a zero in its place.
 */
	.section .text, "ax"
	.balign 16
	.globl guest_stubs
guest_stubs:
	.set vector, 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushq $0
	.endif
	pushq $vector
	jmp common
	.set vector, vector + 1
	.endr

/* Nothing but the caller-saved registers can change in C code of general registers only. */
common:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	movq 72(%rsp), %rdi	/* vector */
	movq 80(%rsp), %rsi	/* error code */
	movq 88(%rsp), %rdx	/* instruction address */
	cld			/* 16 words on an aligned stack: aligned for C */
	call guest_interrupt
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
